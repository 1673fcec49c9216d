"""Sales regions by ISO 3166 code of the country."""

REGIONS = {
    **dict.fromkeys(["AT", "CH", "DE", "LI"], "dach"),
    **dict.fromkeys(["DK", "FI", "IS", "NO", "SE"], "nordics"),
    **dict.fromkeys(["CA", "MX", "US"], "north-america"),
}
