"""Every command of the documents and how it is tried, in this order: later ones need what earlier ones left."""

from tests.documents.service import Curl, Serve
from tests.documents.ways import Elsewhere, Load, Module, Run, Shell, Way

TABLE: dict[str, Way] = {
    "make quickstart": Shell(),
    "make test": Shell(),
    "make bench": Shell(),
    "source .venv/bin/activate": Shell(),
    # tests/test_wheel.py installs a wheel that it builds; what pip downloads is not tried.
    "pip install .": Elsewhere("tests/test_wheel.py", '"install", wheel'),
    'pip install "git+https://HOST/PATH/seqrlhf"': Elsewhere("tests/test_wheel.py", '"install", wheel'),
    'pip install ".[service]"': Elsewhere("tests/test_wheel.py", '"install", wheel'),
    'pip install ".[trackers]"': Elsewhere("tests/test_wheel.py", '"install", wheel'),
    "seqrlhf --help": Elsewhere("tests/test_wheel.py", '"--help"'),
    "seqrlhf": Elsewhere("tests/test_wheel.py", '"train"'),
    "seqrlhf train --steps 3": Elsewhere("tests/test_wheel.py", '"train"'),
    "export RAY_AUTH_MODE=token": Elsewhere("tests/clusters.py", "RAY_AUTH_MODE"),
    "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token": Elsewhere(
        "tests/clusters.py", '"get-auth-token", "--generate"'
    ),
    "ray start --head": Elsewhere("tests/clusters.py", '"ray", "start", "--head"'),
    "ray start --head --dashboard-host 127.0.0.1": Elsewhere("tests/clusters.py", '"ray", "start", "--head"'),
    "ray job submit --address http://127.0.0.1:8265 --working-dir . -- python ray_job.py --workers.reward 4 "
    "--out /shared/runs/first": Load(),  # tests/test_job.py submits jobs
    "python ray_job.py scale runs/first --reward 4": Elsewhere(
        "tests/cluster/test_scaling.py", '"scale", str(folder), "--reward", "4"'
    ),
    "python ray_job.py reward runs/first --model /models/reward": Elsewhere(
        "tests/service/commands/test_reward.py", '"reward", str(folder)'
    ),
    "python ray_job.py reward runs/first --part short --weight 0.2 --at_step 40": Elsewhere(
        "tests/service/commands/test_reward.py", '"--at_step", 3'
    ),
    "python ray_job.py train-reward --pairs pairs.jsonl --out runs/reward": Elsewhere(
        "tests/service/commands/test_train_reward.py", '"train-reward", *FAST'
    ),
    "python ray_job.py train-reward --resume runs/reward": Elsewhere(
        "tests/service/commands/test_train_reward.py", '"train-reward", "--resume"'
    ),
    "python ray_job.py dpo --pairs pairs.jsonl --out runs/dpo": Elsewhere(
        "tests/service/commands/test_dpo.py", '"dpo", "--pairs"'
    ),
    "python ray_job.py dpo --ratings thumbs.jsonl --dpo.loss.type kto": Elsewhere(
        "tests/service/commands/test_dpo.py", '"dpo", "--ratings"'
    ),
    "python ray_job.py dpo --resume runs/dpo": Elsewhere("tests/service/commands/test_dpo.py", '"dpo", "--resume"'),
    "python ray_job.py evaluate base dpo=runs/dpo": Elsewhere(
        "tests/service/commands/test_dpo.py", 'PolicySource("dpo", '
    ),
    # Settings only: models and data that are not here, and runs that take too long.
    """python ray_job.py --reward.parts.learned '{"type": "classifier", "model": "runs/reward", "probe": null, """
    """"text": "completion", "standardise": {"mean": 0.0, "std": 1.1}}'""": Load(),
    "python ray_job.py --config flan_t5_detox": Load(),
    "python ray_job.py --config flan_t5_detox --policy.model /models/flan-t5-base "
    "--policy.adapter /models/my-sft-adapter --reward.parts.classifier.model /models/roberta-hate "
    "--data.path /data/dialogues --out /runs/first": Load(),
    "python ray_job.py --reward.parts.classifier.model /models/toxic-bert --reward.parts.classifier.label toxic "
    "--reward.parts.classifier.label_is bad": Load(),
    # tests/service/http/test_scores.py asks such a pool.
    "python ray_job.py serve --reward.parts.like.type rouge": Load(),
    """python ray_job.py --reward.parts.pool '{"type": "http", "url": "http://127.0.0.1:8000/scores", """
    """"reward": "like"}'""": Load(),
    "python ray_job.py --policy.model /models/bart-base --policy.lora.target_modules q_proj,v_proj": Load(),
    "python ray_job.py --policy.model /models/nllb-200-distilled-600M --data.path /data/news --data.src_lang eng_Latn "
    "--data.tgt_lang deu_Latn": Load(),
    """python ray_job.py --evaluation.second_judge '{"type": "classifier", "model": "/models/toxic-bert", """
    """"label": "toxic", "label_is": "bad"}'""": Load(),
    "python ray_job.py --data.path mine.csv --data.train_split 'train[:90%]' --data.eval_split 'train[90%:]'": Load(),
    "python ray_job.py --data.path cnn.jsonl --data.prompt_column article --data.reference_column highlights": Load(),
    "python ray_job.py --data.path opus.jsonl --data.prompt_column translation.en --data.reference_column "
    "translation.de": Load(),
    "python ray_job.py --data.path dialogsum.csv --data.reference_column summary1,summary2,summary3": Load(),
    "python ray_job.py --workers.reward 4": Load(),
    "python ray_job.py --workers.reward 1-8": Load(),
    "python ray_job.py --workers.rollout auto": Load(),
    "python ray_job.py --cluster.resources.reward.cpus 0.5": Load(),
    "python ray_job.py bench --config flan_t5_detox --policy.model /models/flan-t5-base "
    "--reward.parts.classifier.model /models/roberta-hate --reward.parts.classifier.probe null "
    "--reward.parts.classifier.text prompt+completion "
    "--data.path /data/dialogsum --data.train_split validation --evaluation.rows 2 --bench.min_new 24 "
    "--bench.max_new 72 --algorithm.microbatch_size 2 --workers.learner 2 --workers.reward 1 "
    "--bench.vs 'python seed_loop.py /models --dtype bf16 --steps 9'": Load(),
    "python ray_job.py bench --workers.rollout 8 --policy.lora.r 1536 --policy.lora.alpha 1536 "
    "--bench.steps 1": Load(),
    "python ray_job.py bench --bench.simulate 4,64,256 --bench.simulate_seconds 3": Load(),
    "python ray_job.py pipeline --policy.model small/policy --policy.dtype float32 --data.path small/data "
    "--sft.epochs 2 --rollout.max_new_tokens 60 --steps 40 --algorithm.learning_rate 1e-3 "
    "--out runs/dialogsum": Load(),
    "python ray_job.py serve --serve.keys keys.json --serve.host 0.0.0.0 "
    """--serve.hosts '["seqrlhf.example.org"]'""": Load(),
    """python ray_job.py serve --serve.keys keys.json --serve.hosts '["seqrlhf.example.org"]' """
    "--serve.root_path /seqrlhf": Load(),
    "RAY_AUTH_MODE=token python ray_job.py serve --serve.folder /shared/runs": Load(),
    "python -m tests.dialogsum /data/dialogsum small": Module(),
    "python -m tests.load": Module(),
    "python -m tests.soak": Module(),
    "python -m tests.simulated_pairs pairs.jsonl 600": Module(),
    "python -m quickstart.build": Module(),
    "python -m examples.build": Module(),
    "python -m tests.oracle tests/golden": Module(run=True),
    # Files that are made in these tests.
    "python ray_job.py pairs import mine.csv --out pairs.jsonl": Elsewhere(
        "tests/service/commands/test_pairs.py", 'pairs("import", folder / "edited.csv", "--out"'
    ),
    "python ray_job.py pairs import argilla.json --out pairs.jsonl --template 'Summarize: {text}'": Elsewhere(
        "tests/service/commands/test_pairs.py", 'pairs("import", tmp_path / "argilla.json", "--out"'
    ),
    "python ray_job.py pairs export answers.jsonl --out pairs.csv": Elsewhere(
        "tests/service/commands/test_pairs.py", 'pairs("export", answers, "--out"'
    ),
    "python ray_job.py pairs delete-annotator answers.jsonl ann": Elsewhere(
        "tests/service/commands/test_pairs.py", 'pairs("delete-annotator", answers'
    ),
    "python ray_job.py pairs judge answers.jsonl --json statistics.json": Elsewhere(
        "tests/service/commands/test_pairs.py", 'pairs("judge", answers, "--json"'
    ),
    "python ray_job.py report runs/first --judgements answers.jsonl": Elsewhere(
        "tests/service/report/test_judgements.py", '"report", str(folder), "--judgements"'
    ),
    # Shortened, on the shipped models.
    "python ray_job.py --policy.model quickstart/policy --reward.parts.classifier.model quickstart/reward "
    "--reward.parts.classifier.label nothate --data.path quickstart/dialogues --out runs/own": Run(),
    "python ray_job.py --config quickstart_grpo": Run(),
    "python ray_job.py --config records": Run(group_size=4),
    "python ray_job.py --config translation": Run(group_size=4),
    "python ray_job.py --reward.parts.short.type length --reward.parts.short.words 30 "
    "--reward.parts.short.weight 0.5": Run(),
    "python ray_job.py --evaluation.metrics.chrf.type chrf --evaluation.verdict chrf,rougeL": Run(),
    """python ray_job.py --reward.parts.classifier null --reward.parts.like '{"type": "rouge"}'""": Run(),
    """python ray_job.py --reward.parts.mine '{"type": "function", "function": "my_rewards:polite"}'""": Run(),
    "python ray_job.py --workers.learner 4 --algorithm.microbatch_size 1": Run(),
    "python ray_job.py --run_ahead 1": Run(),
    "python ray_job.py --rollout.temperature 0.8 --rollout.top_p 0.9": Run(),
    """python ray_job.py --evaluation.decoding '{"type": "beam", "num_beams": 4, "length_penalty": 1.0}'""": Run(),
    "python ray_job.py doctor": Run(),
    "python ray_job.py explore": Run(),
    "python ray_job.py sft --out runs/sft": Run(),
    "python ray_job.py --policy.adapter runs/sft/adapter --out runs/rlhf": Run(),
    "python ray_job.py evaluate base sft=runs/sft runs/rlhf@20 rlhf=runs/rlhf": Run(fill=(("@20", "@1"),)),
    "python ray_job.py report runs/rlhf": Run(small=False),
    "python ray_job.py --resume runs/first": Run(fill=(("runs/first", "runs/own"),)),
    "python ray_job.py pipeline --out runs/all": Run(),
    "python ray_job.py bench": Run(),
    "python ray_job.py bench --bench.vs 'python other_loop.py'": Run(),
    "python ray_job.py key create keys.json alice --scopes read,generate,submit --expires 90d": Run(small=False),
    "python ray_job.py key list keys.json": Run(small=False),
    "python ray_job.py key revoke keys.json alice": Run(small=False),
    # One service, and one run of it from start to end.
    "python ray_job.py serve": Serve(),
    "curl -X POST localhost:8000/runs -H 'Content-Type: application/json' -H 'Idempotency-Key: monday-1' "
    """-d '{"base": "quickstart", "steps": 20, "seed": 7}'""": Curl(submits=True),
    "curl -X POST localhost:8000/summaries -H 'Content-Type: application/json' "
    """-d '{"dialogues": ["#Person1#: You are late, you fool. #Person2#: Sorry."]}'""": Curl(),
    "curl -X POST localhost:8000/scores -H 'Content-Type: application/json' "
    """-d '{"texts": ["Thank you."]}'""": Curl(),
    "curl localhost:8000/runs": Curl(),
    "curl -H 'Authorization: Bearer KEY' https://seqrlhf.example.org/runs": Curl(),
    "curl -H 'Authorization: Bearer KEY' https://seqrlhf.example.org/openapi.json -o openapi.json": Curl(),
    "openapi-python-client generate --path openapi.json --meta none --output-path seqrlhf_client": Elsewhere(
        "tests/service/http/test_generated_client.py", "openapi_python_client.generate"
    ),
    "curl -X PATCH localhost:8000/runs/ID/workers -H 'Content-Type: application/json' "
    """-d '{"reward": 4}'""": Elsewhere(  # the run here has no workers to scale
        "tests/service/http/test_serve.py", 'patch(f"/runs/{run}/workers"'
    ),
    "curl -X PATCH localhost:8000/runs/ID/reward -H 'Content-Type: application/json' "
    """-d '{"weight": 0.5}'""": Elsewhere("tests/service/http/test_reward_changes.py", 'patch(f"/runs/{run}/reward"'),
    "curl -X POST localhost:8000/runs/ID/stop": Curl(("running",)),
    "curl -X POST localhost:8000/runs/ID/resume": Curl(("stopped",)),
    "curl -N localhost:8000/runs/ID/events": Curl(("queued", "pending", "running")),
    "curl -O localhost:8000/runs/ID/files/adapter.zip": Curl(("succeeded",)),
    "curl -X POST localhost:8000/summaries -H 'Content-Type: application/json' "
    """-d '{"dialogues": ["#Person1#: You are late, you fool. #Person2#: Sorry."], """
    """"adapters": ["ID@start", "ID"]}'""": Curl(("succeeded",)),
    # From here on ID is that of a campaign.
    "curl -X POST localhost:8000/campaigns -H 'Content-Type: application/json' "
    """-d '{"name": "March", "policies": ["base", "reference"], "pairs": 40, "criteria": ["harm"]}'""": Curl(
        submits=True
    ),
    "curl localhost:8000/campaigns/ID": Curl(("open",), kind="campaigns"),
    "curl localhost:8000/campaigns/open": Curl(),
    "curl localhost:8000/campaigns/ID/next": Curl(),
    "curl -X POST localhost:8000/campaigns/ID/answers -H 'Content-Type: application/json' "
    """-d '{"question": "9f2c51d0a47be863", "outcome": "first", "criteria": {"harm": "tie"}, "note": ""}'""": Elsewhere(
        "tests/service/http/test_campaigns.py", 'post(f"/campaigns/{id}/answers", json=body'
    ),
    "curl -X DELETE localhost:8000/campaigns/ID/answers/last": Elsewhere(
        "tests/service/http/test_campaigns.py", 'delete(f"/campaigns/{id}/answers/last"'
    ),
    "curl localhost:8000/campaigns/ID/judgements": Curl(),
    "curl -X DELETE localhost:8000/campaigns/ID/annotators/ann": Curl(),
    "curl -X POST localhost:8000/campaigns/ID/close": Curl(),
}  # fmt: skip
