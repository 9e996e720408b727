-- A row is one product as one extract shows it, or, where gone is true, a product that the next extract no longer shows.
-- Key: (product_id, extract_date).
-- Reads bronze.products, and of it the extracts that came in the batches from $first_batch to $last_batch. Feeds the
-- slowly changing dimension silver.products: extract_date is the day from which a version holds; every column but the
-- key, extract_date and gone is an attribute whose change starts a version. Gasoline is the one product sold by volume;
-- its sales lines give thousandths of a gallon instead of a count.
WITH extracts AS (
    SELECT
        extract_date,
        LEAD(extract_date) OVER (ORDER BY extract_date) AS next_date,
        MAX(_batch) BETWEEN $first_batch AND $last_batch AS is_new
    FROM bronze.products
    GROUP BY extract_date
),

shown AS (
    SELECT b.*, FALSE AS gone
    FROM bronze.products AS b
    INNER JOIN extracts AS e ON b.extract_date = e.extract_date AND e.is_new
),

vanished AS (
    SELECT b.* REPLACE (e.next_date AS extract_date), TRUE AS gone
    FROM bronze.products AS b
    INNER JOIN extracts AS e ON b.extract_date = e.extract_date
    INNER JOIN extracts AS n ON e.next_date = n.extract_date AND n.is_new
    LEFT JOIN bronze.products AS later ON b.product_id = later.product_id AND later.extract_date = e.next_date
    WHERE later.product_id IS NULL
)

SELECT
    CAST(product_id AS BIGINT) AS product_id,
    CAST(manufacturer_id AS BIGINT) AS manufacturer_id,
    TRIM(department) AS department,
    TRIM(brand) AS brand,
    TRIM(product_category) AS product_category,
    TRIM(product_type) AS product_type,
    TRIM(package_size) AS package_size,
    CASE WHEN product_type LIKE 'GASOLINE%' THEN 'VOLUME' ELSE 'EACH' END AS sold_by,
    CAST(extract_date AS DATE) AS extract_date,
    gone
FROM (SELECT * FROM shown UNION ALL SELECT * FROM vanished) AS changes
