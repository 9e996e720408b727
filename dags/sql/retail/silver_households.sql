-- A row is one household that gave its demographics, as one extract shows it, or, where gone is true, a household that the
-- next extract no longer shows. Key: (household_id, extract_date).
-- Reads bronze.households, and of it the extracts that came in the batches from $first_batch to $last_batch. Feeds the
-- slowly changing dimension silver.households: extract_date is the day from which a version holds; every column but the
-- key, extract_date and gone is an attribute whose change starts a version. Two of three households that buy are not in
-- here, so facts must not demand them.
WITH extracts AS (
    SELECT
        extract_date,
        LEAD(extract_date) OVER (ORDER BY extract_date) AS next_date,
        MAX(_batch) BETWEEN $first_batch AND $last_batch AS is_new
    FROM bronze.households
    GROUP BY extract_date
),

shown AS (
    SELECT b.*, FALSE AS gone
    FROM bronze.households AS b
    INNER JOIN extracts AS e ON b.extract_date = e.extract_date AND e.is_new
),

vanished AS (
    SELECT b.* REPLACE (e.next_date AS extract_date), TRUE AS gone
    FROM bronze.households AS b
    INNER JOIN extracts AS e ON b.extract_date = e.extract_date
    INNER JOIN extracts AS n ON e.next_date = n.extract_date AND n.is_new
    LEFT JOIN bronze.households AS later ON b.household_id = later.household_id AND later.extract_date = e.next_date
    WHERE later.household_id IS NULL
)

SELECT
    CAST(household_id AS BIGINT) AS household_id,
    TRIM(age) AS age_band,
    TRIM(income) AS income_band,
    TRIM(home_ownership) AS home_ownership,
    TRIM(marital_status) AS marital_status,
    TRIM(household_size) AS household_size,
    TRIM(household_comp) AS composition,
    TRIM(kids_count) AS kids_count,
    CAST(extract_date AS DATE) AS extract_date,
    gone
FROM (SELECT * FROM shown UNION ALL SELECT * FROM vanished) AS changes
