"""What was frozen while it was served is freed once it is not."""

from __future__ import annotations

import gc
import weakref

from export.server.catalogue import collect_and_freeze
from export.server.servable import Servable
from tests.export.server.tiny_models import write_halver


def test_the_graph_of_an_unloaded_version_is_freed(tmp_path, request):
    request.addfinalizer(gc.unfreeze)
    write_halver(tmp_path / "1", 1.0)
    servable = Servable(tmp_path / "1")
    graph = weakref.ref(servable._session.graph)
    collect_and_freeze()
    servable.close()
    del servable
    gc.collect()
    assert graph() is not None, "a graph without cycles needs no collection: remove it"
    collect_and_freeze()
    assert graph() is None
