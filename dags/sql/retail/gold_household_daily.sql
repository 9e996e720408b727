-- A row is one household on one business day on which it bought something. Key: (business_date, household_id).
-- Reads silver.sales and the dimension silver.households with valid_from (inclusive) and valid_to (exclusive, NULL for
-- the version that holds now). Households without demographics have 'UNKNOWN' bands.
WITH daily AS (
    SELECT
        business_date,
        household_id,
        COUNT(DISTINCT store_id) AS stores,
        COUNT(DISTINCT basket_id) AS baskets,
        COUNT(*) AS lines,
        CAST(SUM(items) AS BIGINT) AS items,
        CAST(SUM(sales_value) AS DECIMAL(18, 2)) AS sales_value,
        CAST(SUM(retail_disc) AS DECIMAL(18, 2)) AS retail_disc,
        CAST(SUM(coupon_disc) AS DECIMAL(18, 2)) AS coupon_disc,
        CAST(SUM(coupon_match_disc) AS DECIMAL(18, 2)) AS coupon_match_disc
    FROM silver.sales
    WHERE
        business_date IN (
            SELECT new.business_date
            FROM silver.sales AS new
            WHERE new._batch BETWEEN $first_batch AND $last_batch
        )
    GROUP BY business_date, household_id
)

SELECT
    d.business_date,
    d.household_id,
    COALESCE(h.income_band, 'UNKNOWN') AS income_band,
    COALESCE(h.age_band, 'UNKNOWN') AS age_band,
    d.stores,
    d.baskets,
    d.lines,
    d.items,
    d.sales_value,
    d.retail_disc,
    d.coupon_disc,
    d.coupon_match_disc
FROM daily AS d
LEFT JOIN silver.households AS h
    ON
        d.household_id = h.household_id
        AND d.business_date >= CAST(h.valid_from AS DATE)
        AND (h.valid_to IS NULL OR d.business_date < CAST(h.valid_to AS DATE))
