-- A row is one product as the latest extract shows it. Key: product_id.
-- Reads bronze_products. Feeds the slowly changing dimension silver_products: every column but the key and
-- extract_date is an attribute whose change starts a version; extract_date is the day from which the version holds,
-- not an attribute. Gasoline is the one product sold by volume; its sales lines give thousandths of a gallon instead
-- of a count.
SELECT
    CAST(product_id AS BIGINT) AS product_id,
    CAST(manufacturer_id AS BIGINT) AS manufacturer_id,
    TRIM(department) AS department,
    TRIM(brand) AS brand,
    TRIM(product_category) AS product_category,
    TRIM(product_type) AS product_type,
    TRIM(package_size) AS package_size,
    CASE WHEN product_type LIKE 'GASOLINE%' THEN 'VOLUME' ELSE 'EACH' END AS sold_by,
    CAST(extract_date AS DATE) AS extract_date
FROM bronze_products
WHERE extract_date = (SELECT MAX(latest.extract_date) FROM bronze_products AS latest)
