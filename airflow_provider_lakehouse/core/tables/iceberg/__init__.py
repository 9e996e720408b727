"""Tables in Apache Iceberg, through PyIceberg."""
