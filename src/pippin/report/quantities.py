"""Field types of the report: each carries its unit into the published schema and onto the page."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """A frozen part of the report; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _make_encodable(cls, value: Any) -> Any:
        # A path that is not UTF-8 arrives with lone surrogates, which no file can hold.
        return value.encode(errors="replace").decode() if isinstance(value, str) else value


Count = Annotated[int, Field(ge=0, json_schema_extra={"unit": "count"})]
Tokens = Annotated[int, Field(ge=0, json_schema_extra={"unit": "tokens"})]
Bytes = Annotated[int, Field(ge=0, json_schema_extra={"unit": "bytes"})]
Flops = Annotated[float, Field(ge=0, json_schema_extra={"unit": "FLOP"})]
Seconds = Annotated[float, Field(ge=0, json_schema_extra={"unit": "s"})]
SignedSeconds = Annotated[float, Field(json_schema_extra={"unit": "s"})]
Minutes = Annotated[float, Field(ge=0, json_schema_extra={"unit": "min"})]
TokensPerSecond = Annotated[float, Field(ge=0, json_schema_extra={"unit": "tokens/s"})]
FlopsPerSecond = Annotated[float, Field(ge=0, json_schema_extra={"unit": "FLOP/s"})]
TeraflopsPerSecond = Annotated[float, Field(gt=0, json_schema_extra={"unit": "TFLOP/s"})]
BytesPerSecond = Annotated[float, Field(ge=0, json_schema_extra={"unit": "bytes/s"})]
BitsPerByte = Annotated[float, Field(ge=0, json_schema_extra={"unit": "bits/byte"})]
NatsPerToken = Annotated[float, Field(json_schema_extra={"unit": "nats/token"})]
Share = Annotated[float, Field(json_schema_extra={"unit": "share"})]
Dollars = Annotated[float, Field(ge=0, json_schema_extra={"unit": "USD"})]
Joules = Annotated[float, Field(ge=0, json_schema_extra={"unit": "J"})]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
