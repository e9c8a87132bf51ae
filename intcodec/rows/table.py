"""The kinds of rows: a new one is a module and a line here."""

from __future__ import annotations

from typing import Final

from intcodec.rows.add import Add
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.gate import Gate
from intcodec.rows.gdn import Gdn
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row
from intcodec.rows.scale_index import ScaleIndex
from intcodec.rows.scale_space import ScaleSpace
from intcodec.rows.warp import Warp

#: Every kind by the name that a model's description and the compiled core have for it.
KINDS: Final[dict[str, type[Row]]] = {
    row.kind: row for row in (Conv, Gdn, Rescale, ScaleIndex, Concat, Add, Gate, ScaleSpace, Warp)
}
