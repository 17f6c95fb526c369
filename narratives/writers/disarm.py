"""Which DISARM technique a label of the shipped taxonomy is an instance of. docs/score.md gives the reasons.

DISARM Red Framework (DISARM Foundation, CC BY-SA 4.0); ids and names are theirs. A label that is not here has no technique: nothing
is guessed for labels of your own.
"""

from __future__ import annotations

from types import MappingProxyType

_REFRAME = ("T0023.001", "Reframe Context")
_DETER = ("T0139.003", "Deter")
_INTIMIDATE = ("T0140.002", "Intimidate")
_DIVIDE = ("T0079", "Divide")
_VULNERABILITIES = ("T0083", "Integrate Target Audience Vulnerabilities into Narrative")
_CONSPIRACY = ("T0022.001", "Amplify Existing Conspiracy Theory Narratives")
_SMEAR = ("T0135.001", "Smear")
_UNDERMINE = ("T0135", "Undermine")
_EXISTING = ("T0003", "Leverage Existing Narratives")
_PROVOKE = ("T0138.002", "Provoke")
_DEGRADE = ("T0066", "Degrade Adversary")
_RECRUIT = ("T0136.007", "Recruit Members")

TECHNIQUES = MappingProxyType(
    {
        "us_nato_conflation": (_REFRAME,),
        "ukraine_comparison_threat": (_DETER, _INTIMIDATE),
        "language_discrimination": (_DIVIDE, _VULNERABILITIES),
        "western_manipulation": (_CONSPIRACY,),
        "disloyal_ally": (_SMEAR,),
        "territorial_claim": (_UNDERMINE, _EXISTING),
        "call_for_retaliation": (_PROVOKE,),
        "hegemonic_west": (_EXISTING, _DEGRADE),
        "us_biolabs": (_CONSPIRACY,),
        "military_recruitment": (_RECRUIT,),
    }
)
"""Label id to (technique id, its name), the closest first."""


def page_of(technique: str) -> str:
    """Where DISARM describes a technique."""
    return f"https://github.com/DISARMFoundation/DISARMframeworks/blob/main/generated_pages/techniques/{technique}.md"
