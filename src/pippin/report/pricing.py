"""The price rows a report is made with, so that two reports can be compared per dollar without a catalog."""

from __future__ import annotations

from pydantic import Field

from pippin.report.quantities import Count, Dollars, Section


class CatalogPrice(Section):
    """A price, at the time of the report, of an instance that carries the measured chip."""

    provider: str = Field(description="Who rents the instance out.")
    instance: str = Field(description="The instance that has the price.")
    chips_per_instance: Count = Field(gt=0, description="Chips in the instance; it is rented as a whole.")
    kind: str = Field(description="Kind of price: on demand, capacity block, reserved, spot.")
    term: str = Field(description="Term of a reservation; empty where there is none.")
    region: str = Field(description="Region of the price.")
    date: str = Field(description="Day of the price, as its source states it.")
    source: str = Field(description="Who saw the price where.")
    usd_per_instance_hour: Dollars = Field(gt=0, description="Price of the whole instance for an hour.")
    usd_per_hour: Dollars = Field(gt=0, description="Its share for the measured chips, for an hour.")

    @property
    def basis(self) -> str:
        """The kind of price, with its term: what two prices must share to be compared."""
        return f"{self.kind}, {self.term}" if self.term else self.kind
