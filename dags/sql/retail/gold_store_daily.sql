-- A row is one store on one business day on which it sold something. Key: (business_date, store_id).
-- Reads silver.sales. Money is exact; the sums over all rows are those of silver.transactions.
SELECT
    business_date,
    store_id,
    COUNT(DISTINCT household_id) AS households,
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
GROUP BY business_date, store_id
