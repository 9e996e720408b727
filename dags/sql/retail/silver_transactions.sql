-- A row is one line of a basket: one product on one receipt. Key: (basket_id, product_id).
-- Reads the batches of bronze.transactions from $first_batch to $last_batch. A line delivered twice is one row; two
-- different lines of one key both stay, so that a check of the key finds them. The source gives times in UTC. A business day is
-- a day at the stores, in US Eastern time, so a line sold at 22:00 there carries the next date in UTC. Spark writes
-- the two marked expressions CAST(... AS TIMESTAMP) and CAST(from_utc_timestamp(..., 'America/New_York') AS DATE). The
-- time zone of the session must be UTC. quantity is a count, but for gasoline it is thousandths of a gallon:
-- silver.sales turns it into items.
SELECT DISTINCT
    CAST(basket_id AS BIGINT) AS basket_id,
    CAST(product_id AS BIGINT) AS product_id,
    CAST(household_id AS BIGINT) AS household_id,
    CAST(store_id AS BIGINT) AS store_id,
    CAST(transaction_timestamp AS TIMESTAMPTZ) AS sold_at, -- marked
    CAST(CAST(transaction_timestamp AS TIMESTAMPTZ) AT TIME ZONE 'America/New_York' AS DATE) AS business_date, -- marked
    CAST(week AS INTEGER) AS business_week,
    CAST(quantity AS BIGINT) AS quantity,
    CAST(sales_value AS DECIMAL(10, 2)) AS sales_value,
    CAST(retail_disc AS DECIMAL(10, 2)) AS retail_disc,
    CAST(coupon_disc AS DECIMAL(10, 2)) AS coupon_disc,
    CAST(coupon_match_disc AS DECIMAL(10, 2)) AS coupon_match_disc,
    _batch
FROM bronze.transactions
WHERE _batch BETWEEN $first_batch AND $last_batch
