-- A row is one department on one business day on which it sold something. Key: (business_date, department).
-- Reads silver.sales. The department is the one the product was in on that day, or 'UNKNOWN'. A basket counts in each
-- of its departments, so baskets do not add up over departments; lines, items and money do.
SELECT
    business_date,
    department,
    COUNT(DISTINCT basket_id) AS baskets,
    COUNT(DISTINCT product_id) AS products,
    COUNT(*) AS lines,
    CAST(SUM(items) AS BIGINT) AS items,
    CAST(SUM(CASE WHEN brand = 'Private' THEN sales_value ELSE 0 END) AS DECIMAL(18, 2)) AS private_brand_sales_value,
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
GROUP BY business_date, department
