-- A row is one line of a basket with what its product was on that day. Key: (basket_id, product_id).
-- Reads the lines of silver.transactions that came in the batches from $first_batch to $last_batch, and the dimension
-- silver.products with valid_from (inclusive) and valid_to (exclusive,
-- NULL for the version that holds now). Every line stays: 17 products that were sold are in no extract, they are
-- 'UNKNOWN'. items counts what was put on the belt; something sold by volume is one item, whatever its quantity.
SELECT
    t.basket_id,
    t.product_id,
    t.household_id,
    t.store_id,
    t.sold_at,
    t.business_date,
    t.business_week,
    t.quantity,
    CASE WHEN p.sold_by = 'VOLUME' THEN 1 ELSE t.quantity END AS items,
    t.sales_value,
    t.retail_disc,
    t.coupon_disc,
    t.coupon_match_disc,
    COALESCE(p.department, 'UNKNOWN') AS department,
    COALESCE(p.brand, 'UNKNOWN') AS brand,
    t._batch
FROM silver.transactions AS t
LEFT JOIN silver.products AS p
    ON
        t.product_id = p.product_id
        AND t.business_date >= CAST(p.valid_from AS DATE)
        AND (p.valid_to IS NULL OR t.business_date < CAST(p.valid_to AS DATE))
WHERE t._batch BETWEEN $first_batch AND $last_batch
