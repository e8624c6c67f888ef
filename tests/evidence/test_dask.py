"""Cross-validation on dask's workers is cross-validation."""

import joblib
import pandas as pd
import pytest

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, folds


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # dask's own, of ports and of what it sends
def test_two_workers_of_dask_give_the_table_of_one_process():
    distributed = pytest.importorskip("dask.distributed")
    windows = synthetic_windows(effect=3.0)
    divided = folds.cross_subject(windows.metadata)
    vit = sigvit.SignalViTClassifier(training_steps=5, ensemble=False, width=4, depth=1, heads=2, classical=None)
    pipelines = {"ViT": vit, "LDA": baselines.shrinkage_lda()}
    expected = sigvit.cross_validate(pipelines, windows, divided, seeds=(0, 1))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, distributed.Client(cluster) as client:
        with joblib.parallel_config("dask"):
            found = sigvit.cross_validate(pipelines, windows, divided, seeds=(0, 1), n_jobs=-1)
        ran = client.run(lambda dask_worker: dask_worker.state.transition_counter)
    # Stacks of three instead of six members, in float32.
    pd.testing.assert_frame_equal(found.table.drop(columns="time"), expected.table.drop(columns="time"), rtol=1e-3)
    assert all(transitions > 0 for transitions in ran.values()), "both workers should have had something to do"
