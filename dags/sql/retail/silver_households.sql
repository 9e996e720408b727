-- A row is one household that gave its demographics, as the latest extract shows it. Key: household_id.
-- Reads bronze_households. Feeds the slowly changing dimension silver_households: every column but the key and
-- extract_date is an attribute whose change starts a version; extract_date is the day from which the version holds,
-- not an attribute. Two of three households that buy are not in here, so facts must not demand them.
SELECT
    CAST(household_id AS BIGINT) AS household_id,
    TRIM(age) AS age_band,
    TRIM(income) AS income_band,
    TRIM(home_ownership) AS home_ownership,
    TRIM(marital_status) AS marital_status,
    TRIM(household_size) AS household_size,
    TRIM(household_comp) AS composition,
    TRIM(kids_count) AS kids_count,
    CAST(extract_date AS DATE) AS extract_date
FROM bronze_households
WHERE extract_date = (SELECT MAX(latest.extract_date) FROM bronze_households AS latest)
