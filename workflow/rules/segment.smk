rule train_segmenter:
    """Train the segmentation network on the pseudo labels."""
    input:
        data=data_of("photos+labels train_split"),
        labels=labels_to_learn,
    output:
        network="results/{experiment}/{method}/{grids}/segmenter.pt",
        curve="results/{experiment}/{method}/{grids}/segmenter.csv",
    params:
        code=code("ppl.segment.train", "segment.network", "segment.{network}"),
        state=state_of("photos+labels train_split"),
        train=split("train_split"),
        settings=flags("segment.network", "segment.{network}", "segment.training", "hardware.precision"),
        random_seed=random_seed,
        compile=uncompared_flags("hardware.compile"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of the segmentation network; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/segmenter.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/segmenter.tsv"
    threads: network_threads
    resources:
        mem_mb=growing(6000),
        runtime=1440,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.segment.train --data {input.data} --train_split {params.train} --labels {input.labels}"
        " --out {output.network} --log {output.curve} --code {params.code} {params.random_seed} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} {params.compile} > {log} 2>&1"


rule predict:
    """Predict label maps of a split, or of a shard of it: by the network alone and after the CRF."""
    input:
        data=data_of("photos split"),
        network="results/{experiment}/{method}/{grids}/segmenter.pt",
    output:
        directory("results/{experiment}/{method}/{grids}/predictions/{split}-{shard}"),
    params:
        code=code("ppl.segment.predict_split", "segment.network", "segment.{network}"),
        state=state_of("photos split"),
        settings=flags("segment.prediction", "hardware.precision", "hardware.crf"),
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
        compile=uncompared_flags("hardware.compile"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: predictions, {wildcards.split} {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/predict-{split}-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/predict-{split}-{shard}.tsv"
    threads: network_threads
    resources:
        mem_mb=growing(4000),
        runtime=480,
        gpu=one_gpu,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.segment.predict_split --data {input.data} --split {wildcards.split} --shard {params.shard}"
        " --checkpoint {input.network} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} {params.compile} > {log} 2>&1"


rule measure_predictions:
    """Measure IoU of the network on the validation split, with or without CRF; reads masks."""
    input:
        data=data_of("masks+labels val_split"),
        predictions=predictions_of("val_split"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/val-{kind}.csv",
            caption="../report/val.rst",
            category="{experiment}",
            subcategory="Network",
            labels={"shows": "IoU per class", "predictions": "{kind}", "method": "{method}", "grids": "{grids}"},
        ),
    params:
        code=code_hash("ppl.measure.label_maps"),
        state=state_of("masks+labels val_split"),
        split=split("val_split"),
        folders=lambda wildcards, input: [f"{folder}/{wildcards.kind}" for folder in input.predictions],
    wildcard_constraints:
        kind="raw|crf",
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: predictions measured, {wildcards.kind}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-val-{kind}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-val-{kind}.tsv"
    threads: workers
    resources:
        mem_mb=growing(1000),
        runtime=30,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.label_maps --data {input.data} --split {params.split} --predictions {params.folders}"
        " --name 'network, {wildcards.kind}' --out {output} --workers {threads} > {log} 2>&1"


rule gather_test_predictions:
    """Gather the test predictions of the main variant in the VOC server's layout, and a checked tar of them."""
    input:
        data=data_folder,
        check=files(paths.data_check),
        predictions=files(paths.predictions, "test_split"),
        # ppl.predict reads it beside the network; no prediction depends on it.
        settings=ancient("results/{experiment}/settings.yaml"),
    output:
        folder=directory("results/{experiment}_test_preds"),
        tar="results/{experiment}_test_preds.tar",
    params:
        code=code_hash("ppl.segment.voc_server"),
        state=state_of("photos test_split"),
        split=split("test_split"),
        folders=lambda wildcards, input: [f"{f}/{paths.best_kind(E[wildcards.experiment])}" for f in input.predictions],
    message:
        "{wildcards.experiment}: test predictions gathered and packed; {log}"
    log:
        "results/{experiment}/logs/test_preds.log",
    benchmark:
        "results/{experiment}/benchmarks/test_preds.tsv"
    threads: workers
    resources:
        mem_mb=growing(2000),
        runtime=120,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.segment.voc_server --data {input.data} --split {params.split} --predictions {params.folders}"
        " --out {output.folder} --tar {output.tar} --workers {threads} > {log} 2>&1"
