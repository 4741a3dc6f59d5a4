"""The report of one assay: `schema` is its contract, `page` makes the self-contained HTML page."""
