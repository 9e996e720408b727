-- A row is one product that one coupon of one campaign can be redeemed for. Key: (coupon_upc, product_id,
-- campaign_id).
-- Reads bronze.coupons. The source itself repeats 4,872 rows; here each stands once.
SELECT DISTINCT
    CAST(coupon_upc AS BIGINT) AS coupon_upc,
    CAST(product_id AS BIGINT) AS product_id,
    CAST(campaign_id AS BIGINT) AS campaign_id,
    CAST(extract_date AS DATE) AS extract_date
FROM bronze.coupons
WHERE extract_date = (SELECT MAX(latest.extract_date) FROM bronze.coupons AS latest)
