"""A reward model: its loss, its network, and that it scores as a reward what it scored while it learnt."""

import math
from dataclasses import replace

import pytest
import torch
from torch import tensor
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
)
from trl import RewardTrainer

from configs.errors import UsageError
from configs.reward_training import RewardLora, RewardTrainingConfig
from learner.adapter import tensors_sha256
from learner.preferences.reward_body import load_body, with_lora
from learner.preferences.reward_loss import pair_loss
from learner.preferences.reward_model import fit, make_trainer
from learner.preferences.trainings import MODEL, Training, total_steps
from learner.settings import RewardModelSettings
from tests.preferences import simulated
from tests.workers.rewards import MODEL as SHIPPED
from tests.workers.rewards import reward, tiny_classifier
from workers.preferences.encoding import PairReader, both_items

CPU, META = torch.device("cpu"), torch.device("meta")
QUICK = RewardTrainingConfig(epochs=1, evals=1, batch_size=8, learning_rate=5e-3)


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def test_the_loss_is_the_one_computed_by_hand():
    chosen, rejected = tensor([2.0, 0.5, 1.0]), tensor([1.0, 1.5, 0.0])
    targets, margins = tensor([1.0, 1.0, 0.5]), tensor([0.0, 0.0, 0.0])
    by_hand = -(log_sigmoid(1) + log_sigmoid(-1) + (log_sigmoid(1) + log_sigmoid(-1)) / 2) / 3
    assert pair_loss(chosen, rejected, targets, margins, 0).item() == pytest.approx(by_hand, rel=1e-6)
    margins = tensor([0.5, 0.0, 0.0])
    by_hand = -(log_sigmoid(0.5) + log_sigmoid(-1) + (log_sigmoid(1) + log_sigmoid(-1)) / 2) / 3
    assert pair_loss(chosen, rejected, targets, margins, 0).item() == pytest.approx(by_hand, rel=1e-6)
    centred = by_hand + 0.1 * (3**2 + 2**2 + 1) / 3
    assert pair_loss(chosen, rejected, targets, margins, 0.1).item() == pytest.approx(centred, rel=1e-6)


def test_a_tie_pulls_both_scores_together_and_not_one_of_them_up():
    for gap, sign in ((0.0, 0), (2.0, 1), (-2.0, -1)):
        chosen = tensor([gap], requires_grad=True)
        pair_loss(chosen, tensor([0.0]), tensor([0.5]), tensor([0.0]), 0).backward()
        assert chosen.grad.sign().item() == sign


def training_on(pairs, text="completion", model=SHIPPED):
    return Training("one", PairReader("field", str(model), text).read(pairs), seed=3)


@pytest.fixture(scope="module")
def pairs():
    return simulated(24)


def test_without_ties_the_loss_is_that_of_trl(pairs, tmp_path):
    made = [replace(pair, margin=0.1 * i) for i, pair in enumerate(pairs[:6])]
    trainer, _ = make_trainer(RewardModelSettings(SHIPPED, QUICK), training_on(made), training_on(made).pairs, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    ours = trainer.compute_loss(trainer.model, dict(batch))
    batch.pop("target")
    assert ours.item() == pytest.approx(RewardTrainer.compute_loss(trainer, trainer.model, batch).item(), rel=1e-6)
    assert batch["margin"].sum() > 0, "the margins have reached the loss"


@pytest.mark.parametrize(("lora", "text"), [(RewardLora(), "prompt+completion"), (None, "completion")])
def test_the_reward_is_what_the_trainer_computed(lora, text, pairs, tmp_path):
    """One reading of a text: dialogues are longer than the 62 tokens that this model reads."""
    body = tiny_classifier(tmp_path / "body", num_labels=3)
    config = QUICK.model_copy(update={"lora": lora, "text": text})
    training = training_on(pairs, text, body)
    trainer, _ = make_trainer(RewardModelSettings(body, config), training, training.pairs, tmp_path)
    trainer.train()
    batch = trainer.data_collator([vars(pair) for pair in training.pairs])
    with torch.no_grad():
        own = trainer.model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    fit(RewardModelSettings(body, config), training, training.pairs, tmp_path / "root")
    part = reward(type="classifier", model=str(training.folder(tmp_path / "root") / MODEL), text=text, probe=None)
    items = [both_items(pair)[side] for side in (0, 1) for pair in pairs]
    torch.testing.assert_close(tensor(part(items)), own, atol=1e-5, rtol=0)
    assert own.std() > 1e-3


def test_the_body_is_kept_and_the_head_is_new_by_seed():
    torch.manual_seed(1)
    one = load_body("field", SHIPPED, CPU)
    torch.manual_seed(1)
    same = load_body("field", SHIPPED, CPU)
    torch.manual_seed(2)
    other = load_body("field", SHIPPED, CPU)
    assert one.new == ("classifier.out_proj",) and one.model.config.id2label == {0: "reward"}
    hashes = [tensors_sha256(body.model.state_dict()) for body in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    bodies = [tensors_sha256(body.model.roberta.state_dict()) for body in (one, other)]
    assert bodies[0] == bodies[1]


def encoder(kind, folder):
    config = RobertaConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    kind(config).save_pretrained(folder)
    return str(folder)


def test_a_language_models_body_gets_a_whole_new_head(tmp_path):
    for name, kind in (("plain", RobertaModel), ("masked", RobertaForMaskedLM)):
        assert load_body("field", encoder(kind, tmp_path / name), META).new == (
            "classifier.dense",
            "classifier.out_proj",
        )


def test_a_reward_model_is_learnt_further_with_its_own_head(tmp_path):
    assert load_body("field", tiny_classifier(tmp_path, num_labels=1), META).new == ()


def test_the_head_is_trained_in_full_and_the_body_by_adapters():
    body = load_body("field", SHIPPED, META)
    trained = {
        name for name, p in with_lora("field", body, RewardLora(), SHIPPED).named_parameters() if p.requires_grad
    }
    assert all(".lora_" in name or ".classifier." in name for name in trained)
    assert any("classifier.modules_to_save.default.dense.weight" in name for name in trained)
    with pytest.raises(UsageError, match=r"field.target_modules: .* has no layer called q9"):
        with_lora("field", load_body("field", SHIPPED, META), RewardLora(target_modules=("q9",)), SHIPPED)


def test_a_family_with_other_names_is_adapted_in_all_linear_layers_of_its_body(tmp_path):
    config = DistilBertConfig(vocab_size=30, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    DistilBertForMaskedLM(config).save_pretrained(tmp_path)
    body = load_body("field", str(tmp_path), META)
    assert body.new == ("classifier", "pre_classifier")
    adapted = {
        name for name, p in with_lora("field", body, RewardLora(), "model").named_parameters() if p.requires_grad
    }
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in adapted if ".lora_A" in name} == {
        "q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2",
    }  # fmt: skip
    assert {name.split(".")[2] for name in adapted if "lora_" not in name} == {"pre_classifier", "classifier"}


def test_a_body_without_its_weights_is_refused(tmp_path):
    folder = tmp_path / "gpt"
    config = GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2)
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    GPT2Config(vocab_size=30, n_embd=8, n_layer=2, n_head=2).save_pretrained(folder)
    with pytest.raises(UsageError, match=r"field: .* lacks weights of its body"):
        load_body("field", str(folder), META)


def test_updates_are_counted_as_the_trainer_counts_them():
    config = RewardTrainingConfig(epochs=2.5, batch_size=8)
    assert total_steps(config, 20) == 8  # 2.5 passes of 3 batches
    assert total_steps(config.model_copy(update={"workers": 2}), 20) == 8
