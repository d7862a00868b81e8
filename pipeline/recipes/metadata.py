"""What published data say of who made them, and how they may be used."""

from __future__ import annotations

from pydantic import Field

from pipeline.recipes.base import RecipePart, ShortText


class MetadataRecipe(RecipePart):
    """Attributes of published forecasts, named as in ACDD 1.3; what is empty is left out.

    Place, dates and sources are computed and need no key.
    """

    summary: str = Field("", max_length=5000)
    """What the data are, in a paragraph."""
    keywords: tuple[ShortText, ...] = Field((), max_length=100)
    """Words by which catalogs find the data."""
    institution: str = Field("", max_length=1000)
    """Who publishes the data."""
    license: str = Field("", max_length=1000)
    """How the data may be used: an SPDX identifier such as CC-BY-4.0, or a sentence."""
    creator_name: str = Field("", max_length=1000)
    """Person or office that answers for the data."""
    creator_email: str = Field("", max_length=500, pattern=r"^$|^[^@\s]+@[^@\s]+$")
    """Where questions go."""
    creator_url: str = Field("", max_length=500, pattern=r"^$|^https?://\S+$")
    """Page of the creator."""
    project: str = Field("", max_length=1000)
    """Project in which the data are made."""
    references: str = Field("", max_length=1000)
    """Papers or pages that describe data and method."""
    acknowledgement: str = Field("", max_length=1000)
    """Whom users of the data shall name, such as the source of the archive."""

    @property
    def attributes(self) -> dict[str, str]:
        """Return the attributes that are stated."""
        stated = self.model_dump() | {"keywords": ", ".join(self.keywords)}
        return {name: text for name, text in stated.items() if text}
