"""`crossdiff`: a conditional diffusion segmenter with a direct head, cross-consistency and a warm-started refiner.

The direct path is the U-Net of `unet`, so that whatever teaches that network from unlabeled images teaches this one. A
small denoiser, told about the image at every scale, predicts the mask from a noised estimate of it, as a correction of
the direct head's logits. In prediction it starts from the direct head's own mask and repairs it; in training the
moving-average teacher repairs its pseudo-labels in the same way. Perturbed auxiliary decoders are pulled to the teacher
on unlabeled images (Ouali et al. 2020), and never run in prediction.

`twin` is the same network with the same number of calls, without diffusion (`segmentation.starts`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.params.segmenter import CrossdiffParams
from pipelines.runtime.randomness import Draws
from segmentation import sampling
from segmentation.augmentations import cutmix
from segmentation.consistency import confident_pixels, consistency_weight, cross_consistency, rectified
from segmentation.estimates import corrupt
from segmentation.losses import bce_dice, hard_dice, probability
from segmentation.mask_diffusion import linear_alphas_cumprod
from segmentation.modules.blocks import scaled
from segmentation.modules.denoiser import Denoiser
from segmentation.modules.direct import DirectPath, Pass, run_direct
from segmentation.modules.encoder import ImageEncoder, by_stream, load_pretrained, resolve_norm
from segmentation.modules.guidance import Condition, Guidance
from segmentation.perturbations import Perturbation, channels_dropped, perturbations
from segmentation.semi.methods import METHODS
from segmentation.semi.weak_to_strong import taught
from segmentation.starts import Starts, supervised_timesteps, unlabeled_timesteps
from segmentation.system import MODES, Batch, Prediction, System, SystemConfig, Unlabeled, averaged, draws_for

WIDTHS = (64, 128, 256)  # at strides 4, 8, 16
EMBEDDING = 256
RECTIFY_FROM = 0.1  # u at which the denoiser is trusted with pseudo-labels
AGREEING = 4  # samples of the denoiser that must agree where that is the confidence
DENOISER = 0.5  # weight of the denoiser's losses beside the direct head's
DROPPED = 0.5  # weight of the direct head's pass with dropped channels beside the whole one


class CrossDiff(nn.Module):
    """Encoder E, direct path, guidance, denoiser; see the module's text."""

    alphas_cumprod: Tensor

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        assert isinstance(config.method, CrossdiffParams)
        self.config, self.method = config, config.method
        d, method = config.mask_diffusion, config.method
        widths = [scaled(c, config.width) for c in WIDTHS]
        norm = resolve_norm(config.encoder.norm, config.encoder.weights)
        self.encoder = ImageEncoder(config.encoder.name, norm, config.mean, config.std)
        self.direct = DirectPath(self.encoder.channels, config.width, config.classes)
        self.guidance = Guidance(self.encoder.channels, self.direct.widths[:3], widths, method.global_context)
        embedding = scaled(EMBEDDING, config.width)
        self.denoiser = Denoiser(config.classes, widths, embedding, method.aux_decoders, method.multi_scale)
        alphas_cumprod = linear_alphas_cumprod(d.T, d.beta_start, d.beta_end)
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)

    @property
    def starts(self) -> Starts:
        """What the denoiser's calls start from."""
        return Starts(self.method.twin, self.config.mask_diffusion.input_scale, self.alphas_cumprod)

    def see(self, images: Tensor, synthetic: Tensor | None = None, perturb: Perturbation | None = None) -> Pass:
        """Run E and the direct path once. images: (B, 1, H, W) in [0, 1]; synthetic: (B,) bool, rows that move no
        running statistic; perturb: applied to each map of E.
        """
        features = by_stream(self.encoder, self.encoder, [images], synthetic)
        return run_direct(self.direct, images, features, synthetic, perturb)

    def told(self, seen: Pass) -> Condition:
        """Run the guidance once."""
        return Condition(self.guidance(seen.features, seen.maps), seen.logits)

    def denoise(self, xt: Tensor, t: Tensor, c: Condition, draws: Draws | None, stream: str = "") -> list[Tensor]:
        """Logits (B, K, H, W) of one call: [main], and with draws the auxiliary decoders, perturbed, behind it.

        The main decoder corrects the direct head's logits; the auxiliary ones stand alone.
        """
        x, t = self.starts.heard(xt, t)
        kinds = None if draws is None else perturbations(draws, stream, len(self.denoiser.auxiliary))
        main, *auxiliary = self.denoiser(x, t, c.maps, kinds)
        return [c.direct.detach() + main.float(), *(logits.float() for logits in auxiliary)]

    # ---- training ------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch, u: float, draws: Draws, teacher: System | None) -> dict[str, Tensor]:
        """L = L_sup + w(u) L_u; the other keys are for logs."""
        supervised, logs = self._supervised(batch.images, batch.masks, draws, teacher)
        if batch.unlabeled is None:
            return {"total": supervised, **logs}
        assert isinstance(teacher, CrossDiff), "unlabeled images need the moving average as teacher"
        unlabeled, more = self._unlabeled(batch, batch.unlabeled, u, draws, teacher)
        semi = self.config.semi
        weight = batch.unlabeled.weight * consistency_weight(u, semi.w_max, semi.ramp)
        return {"total": supervised + weight * unlabeled, **logs, **more}

    def _supervised(
        self, images: Tensor, y: Tensor, draws: Draws, teacher: System | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_sup = BCEDice(l_dir) + 1/2 BCEDice(l_dir') + 1/2 mean_k BCEDice(l^t_k).

        l^t_k starts from a damaged estimate or from noise. l_dir' is that of a second pass with dropped channels
        (`augment.channel_dropout`), and it is this pass that the denoiser is told about: a condition as doubtful as
        that of an unseen image, since the direct head soon knows the labeled ones by heart.
        """
        p = self.config.augment.channel_dropout
        seen = whole = self.see(images)
        if p > 0.0:
            perturb = channels_dropped(draws, "labeled/channels", p)
            seen = run_direct(self.direct, images, whole.features, perturb=perturb)
        c = self.told(seen)
        e = self.estimate(y, images, c, draws, teacher)
        t, cold = supervised_timesteps(draws, self.config.mask_diffusion.T)
        xt = self.starts.start(e, draws.normal("noise/supervised", *y.shape[1:]), t, cold)
        denoised = self.denoise(xt, t, c, draws, "perturb/supervised")
        parts = {"direct": bce_dice(whole.logits, y), "denoised": _mean_loss(denoised, y)}
        total = parts["direct"] + DENOISER * parts["denoised"]
        if seen is not whole:
            parts["dropped"] = bce_dice(seen.logits, y)
            total = total + DROPPED * parts["dropped"]
        logs = {"supervised": total, **parts}
        with torch.no_grad():
            logs["dice_estimate"] = hard_dice(e, y)
            for name, logits in (("direct", whole.logits), ("condition", c.direct), ("denoised", denoised[0])):
                logs[f"dice_{name}"] = hard_dice(probability(logits), y)
        return total, {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def estimate(self, y: Tensor, images: Tensor, c: Condition, draws: Draws, teacher: System | None) -> Tensor:
        """e (B, K, H, W) in [0, 1], without gradient: the damaged mask, the teacher's or the own direct head's
        probability, or y as a control.
        """
        d = self.config.mask_diffusion
        if d.estimate == "teacher":
            assert isinstance(teacher, CrossDiff), "estimate: teacher needs the moving average"
            return probability(teacher.see(images).logits)
        if d.estimate == "self":
            return probability(c.direct)
        return corrupt(y, draws, "estimate", d.strength) if d.estimate == "corrupt" else y.float()

    def _unlabeled(
        self, batch: Batch, unlabeled: Unlabeled, u: float, draws: Draws, teacher: CrossDiff
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_u = L_dir + 1/2 (L_main + lc L_cross) against the teacher's rectified pseudo-label q.

        L_dir is that of the chosen method; the others reach confident pixels of the first strong view, whose condition
        is computed once for all.
        """
        semi = self.config.semi
        mine = draws_for(draws, len(unlabeled.weak))
        q, samples = teacher.pseudo_label(unlabeled.weak, u, mine)
        m, kept = confident_pixels(q, unlabeled.valid, semi, samples)
        strong: list[Pass] = []

        def student(images: Tensor, synthetic: Tensor, perturb: Perturbation | None = None) -> Tensor:
            seen = self.see(images, synthetic, perturb)
            if images.data_ptr() == unlabeled.strong.data_ptr():  # the first strong view, alone or before others
                strong.append(seen.first(len(q)))
            return seen.logits

        l_dir, logs = METHODS[self.method.semi](student, q, m, batch, draws, semi)
        c = self.told(strong[0] if strong else self.see(unlabeled.strong[0], unlabeled.synthetic))
        q, m = cutmix(q, unlabeled.boxes[0]), cutmix(m, unlabeled.boxes[0])
        t, cold = unlabeled_timesteps(mine, self.config.mask_diffusion.T)
        # never from q: the student must not find its own target inside xt
        own = probability(c.direct.detach())
        xt = self.starts.start(own, mine.normal("noise/unlabeled", *q.shape[1:]), t, cold)
        main, *auxiliary = self.denoise(xt, t, c, mine, "perturb/unlabeled")
        l_main = taught(main, q, m)
        l_cross = cross_consistency(q, [probability(logits) for logits in auxiliary], m)
        parts = {"unlabeled_direct": l_dir, "unlabeled_main": l_main, "unlabeled_cross": l_cross}
        total = l_dir + DENOISER * (l_main + semi.lc * l_cross)
        return total, {**kept, **logs, **{name: value.detach() for name, value in parts.items()}}

    @torch.no_grad()
    def pseudo_label(self, images: Tensor, u: float, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """q (B, K, H, W), the direct head's probability, and the denoiser's samples (N, B, K, H, W) that repaired it or
        tell which pixels are confident: one warm-started call, and only where they are asked for.
        """
        semi, seen = self.config.semi, self.see(images)
        q = probability(seen.logits)
        if u < RECTIFY_FROM or (semi.rectify == "none" and semi.confidence == "probability"):
            return q, None
        count = AGREEING if semi.confidence == "agreement" else 1
        t = torch.full((len(q),), self.config.mask_diffusion.start, device=q.device)
        noises = [draws.normal(f"noise/teacher/{n}", *q.shape[1:]) for n in range(count)]
        xt = torch.cat([self.starts.start(q, noise, t) for noise in noises])
        several = self.denoise(xt, t.repeat(count), self.told(seen).repeated(count), None)[0]
        samples = probability(several).view(count, *q.shape)
        return rectified(q, samples, semi.rectify), samples

    # ---- prediction ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        """See `System`. Mode `direct` makes no denoiser call; of the others see `segmentation.sampling`."""
        if mode not in MODES:
            raise ValueError(f"predict: expected a mode among {', '.join(MODES)}, found {mode!r}")
        seen = self.see(images)
        direct = probability(seen.logits)
        if mode == "direct":
            return averaged(direct[None], {"direct": direct})
        if self.method.twin != "none":
            seeds = 1  # nothing random is left
        calls = self.sample(self.told(seen), direct, steps, seeds, mode, case_ids)
        samples = sampling.joined(mode, calls[-1], seen.logits, self.config.mask_diffusion.ensemble)
        return averaged(samples, {"direct": direct, "calls": torch.stack(calls).mean(dim=1).transpose(0, 1)})

    @torch.no_grad()
    def refine_from(
        self, images: Tensor, p: Tensor, *, start: int, steps: int, seeds: int, case_ids: list[str]
    ) -> Tensor:
        """Probabilities (seeds, B, K, H, W) after `steps` calls that start warm from any estimate p (B, K, H, W)."""
        return self.sample(self.told(self.see(images)), p, steps, seeds, "refine", case_ids, start)[-1]

    def sample(
        self, c: Condition, p: Tensor, steps: int, seeds: int, mode: str, case_ids: list[str], start: int | None = None
    ) -> list[Tensor]:
        """Probabilities (seeds, B, K, H, W) after each call of the denoiser, from the estimate p; one batch for all.

        start: t of a warm start, by default the configured one.
        """
        d, repeated = self.config.mask_diffusion, c.repeated(seeds)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return probability(self.denoise(x, t, repeated, None)[0])

        return sampling.sample(denoise, self.starts, p, d, mode, steps, seeds, case_ids, start)


def _mean_loss(decoders: list[Tensor], y: Tensor) -> Tensor:
    """BCEDice averaged over the main and the auxiliary decoders."""
    return torch.stack([bce_dice(logits, y) for logits in decoders]).mean()


def build(config: SystemConfig, *, pretrained: bool) -> CrossDiff:
    system = CrossDiff(config)
    if pretrained and config.encoder.weights == "lite0":
        load_pretrained(system.encoder)
    return system
