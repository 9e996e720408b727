-- A row is one basket: one receipt of one household in one store. Key: basket_id.
-- Reads silver.sales. shelf_value is what the lines would have cost without the store's own discounts (retail_disc and
-- coupon_match_disc); coupon_disc is paid by the manufacturer, so it is not taken from sales_value.
SELECT
    basket_id,
    business_date,
    sold_at,
    store_id,
    household_id,
    COUNT(*) AS lines,
    CAST(SUM(items) AS BIGINT) AS items,
    COUNT(DISTINCT department) AS departments,
    CAST(SUM(sales_value + retail_disc + coupon_match_disc) AS DECIMAL(18, 2)) AS shelf_value,
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
GROUP BY basket_id, business_date, sold_at, store_id, household_id
