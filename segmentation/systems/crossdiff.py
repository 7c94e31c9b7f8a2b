"""`crossdiff`: a conditional diffusion segmenter with a direct head, cross-consistency and a warm-started refiner.

The direct path is the U-Net of `unet`, so that whatever teaches that network from unlabeled images teaches this one. A
small denoiser, told about the image at every scale, predicts the mask from a noised estimate of it, as a correction of
the direct head's logits. In prediction it starts from the direct head's own mask and repairs it; in training the
moving-average teacher repairs its pseudo-labels in the same way. Perturbed auxiliary decoders are pulled to the teacher
on unlabeled images (Ouali et al. 2020), and never run in prediction.

`twin` is the same network with the same number of calls, without diffusion: no noise enters, t = T - 1 always, and
either no mask (`zero`) or the one so far (`cascade`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.params.segmenter import CrossdiffParams
from pipelines.runtime.randomness import Draws
from segmentation import mask_diffusion as diffusion
from segmentation.augmentations import cutmix
from segmentation.consistency import agreement_mask, confidence_mask, consistency_weight, cross_consistency, keep_rates
from segmentation.estimates import corrupt
from segmentation.losses import bce_dice, hard_dice, logits_of, probability
from segmentation.modules.blocks import scaled
from segmentation.modules.denoiser import Denoiser
from segmentation.modules.direct import DirectPath
from segmentation.modules.encoder import ImageEncoder, by_stream, kept_statistics, load_pretrained, resolve_norm
from segmentation.modules.guidance import Guidance
from segmentation.perturbations import Perturbation, channels_dropped, perturbations
from segmentation.semi.methods import METHODS
from segmentation.semi.weak_to_strong import taught
from segmentation.system import MODES, Batch, Prediction, System, SystemConfig, Unlabeled, averaged, draws_for

WIDTHS = (64, 128, 256)  # at strides 4, 8, 16
EMBEDDING = 256
COARSE = 0.6  # share of T below which a supervised step lies with probability 0.8: where a warm start lies
COLD = 0.25  # share of a batch that starts from pure noise
STARTS = (200, 400, 600)  # thousandths of T: warm starts of the student on unlabeled images
RECTIFY_FROM = 0.1  # u at which the denoiser is trusted with pseudo-labels
AGREEING = 4  # samples of the denoiser that must agree where that is the confidence
DENOISER = 0.5  # weight of the denoiser's losses beside the direct head's
DROPPED = 0.5  # weight of the direct head's pass with dropped channels beside the whole one


@dataclass(frozen=True)
class Condition:
    """What an image tells the denoiser. maps: c_1..c_3; direct: logits (B, K, H, W) of the direct head."""

    maps: list[Tensor]
    direct: Tensor

    def repeated(self, times: int) -> Condition:
        """For `times` samples of each image: (times * B, ...)."""
        if times == 1:
            return self
        return Condition([c.repeat(times, 1, 1, 1) for c in self.maps], self.direct.repeat(times, 1, 1, 1))


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
        alphas_cumprod = diffusion.linear_alphas_cumprod(d.T, d.beta_start, d.beta_end)
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)

    def condition(
        self, images: Tensor, synthetic: Tensor | None = None, perturb: Perturbation | None = None
    ) -> Condition:
        """Run E, the direct path and the guidance once. images: (B, 1, H, W) in [0, 1]; synthetic: (B,) bool, rows that
        move no running statistic; perturb: applied to each map of E.
        """
        if synthetic is None:
            synthetic = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        features = by_stream(self.encoder, self.encoder, [images], synthetic)
        return self.decode(images, features, synthetic, perturb)

    def decode(
        self, images: Tensor, features: list[Tensor], synthetic: Tensor, perturb: Perturbation | None = None
    ) -> Condition:
        """The condition from the encoder's maps."""
        if perturb is None:
            logits, *decoded = by_stream(self.direct, self.direct, [images, *features], synthetic)
        else:
            features = [perturb(feature) for feature in features]
            with kept_statistics(self.direct):  # those of whole maps
                logits, *decoded = self.direct(images, *features)
        return Condition(self.guidance(features, decoded), logits)

    def denoise(self, xt: Tensor, t: Tensor, c: Condition, draws: Draws | None, stream: str = "") -> list[Tensor]:
        """Logits (B, K, H, W) of one call: [main], and with draws the auxiliary decoders, perturbed, behind it.

        The main decoder corrects the direct head's logits; the auxiliary ones stand alone. The twin hears no noise
        level; see `start_from` for what it is given as xt.
        """
        d = self.config.mask_diffusion
        if self.method.twin == "none":
            x = diffusion.unit_variance(xt, t, self.alphas_cumprod, d.input_scale)
        else:
            x, t = xt, torch.full_like(t, d.T - 1)
        kinds = None if draws is None else perturbations(draws, stream, len(self.denoiser.auxiliary))
        main, *auxiliary = self.denoiser(x, t, c.maps, kinds)
        return [c.direct.detach() + main.float(), *(logits.float() for logits in auxiliary)]

    def start_from(self, p: Tensor, eps: Tensor, t: Tensor, cold: Tensor | None = None) -> Tensor:
        """xt (B, K, H, W): an estimate p of the mask, noised to t; pure noise where `cold` (B,). The twin's is free of
        noise: the estimate itself, or nothing.
        """
        if self.method.twin == "zero":
            return torch.zeros_like(p)
        warm = 2.0 * p - 1.0
        if self.method.twin == "none":
            b = self.config.mask_diffusion.input_scale
            warm = diffusion.q_sample(warm, eps, t, self.alphas_cumprod, b)
        if cold is None:
            return warm
        return torch.where(cold[:, None, None, None], eps if self.method.twin == "none" else torch.zeros_like(p), warm)

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
        T, p = self.config.mask_diffusion.T, self.config.augment.channel_dropout
        real = torch.zeros(len(y), dtype=torch.bool, device=y.device)
        features = self.encoder(images)
        clean = self.decode(images, features, real)
        c = clean
        if p > 0.0:
            c = self.decode(images, features, real, channels_dropped(draws, "labeled/channels", p))
        e = self.estimate(y, images, c, draws, teacher)
        t, cold = supervised_timesteps(draws, T)
        xt = self.start_from(e, draws.normal("noise/supervised", *y.shape[1:]), t, cold)
        denoised = self.denoise(xt, t, c, draws, "perturb/supervised")
        parts = {"direct": bce_dice(clean.direct, y), "denoised": _mean_loss(denoised, y)}
        total = parts["direct"] + DENOISER * parts["denoised"]
        if c is not clean:
            parts["dropped"] = bce_dice(c.direct, y)
            total = total + DROPPED * parts["dropped"]
        logs = {"supervised": total, **parts}
        with torch.no_grad():
            logs["dice_estimate"] = hard_dice(e, y)
            for name, logits in (("direct", clean.direct), ("condition", c.direct), ("denoised", denoised[0])):
                logs[f"dice_{name}"] = hard_dice(probability(logits), y)
        return total, {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def estimate(self, y: Tensor, images: Tensor, c: Condition, draws: Draws, teacher: System | None) -> Tensor:
        """e (B, K, H, W) in [0, 1], without gradient: the damaged mask, the teacher's or the own direct head's
        probability, or y as a control.
        """
        d = self.config.mask_diffusion
        if d.estimate == "corrupt":
            with torch.autocast(y.device.type, enabled=False):  # blurs and warps in float32
                return corrupt(y, draws, "estimate", d.strength)
        if d.estimate == "teacher":
            assert isinstance(teacher, CrossDiff), "estimate: teacher needs the moving average"
            return probability(teacher.condition(images).direct)
        return probability(c.direct.detach()) if d.estimate == "self" else y.float()

    def _unlabeled(
        self, batch: Batch, unlabeled: Unlabeled, u: float, draws: Draws, teacher: CrossDiff
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_u = L_dir + 1/2 (L_main + lc L_cross) against the teacher's rectified pseudo-label q.

        L_dir is that of the chosen method; the others reach confident pixels of the first strong view, whose condition
        is computed once for all.
        """
        semi = self.config.semi
        mine = draws_for(draws, len(unlabeled.weak))
        q, m = teacher.pseudo_label(unlabeled.weak, u, mine)
        m = m * unlabeled.valid
        foreground, background = keep_rates(q, m)
        kept = {"keep_foreground": foreground, "keep_background": background}
        conditions: list[Condition] = []

        def student(images: Tensor, synthetic: Tensor, perturb: Perturbation | None = None) -> Tensor:
            c = self.condition(images, synthetic, perturb)
            if images is unlabeled.strong[0]:
                conditions.append(c)
            return c.direct

        l_dir, logs = METHODS[self.method.semi](student, q, batch, draws, semi)
        c = conditions[0] if conditions else self.condition(unlabeled.strong[0], unlabeled.synthetic)
        q, m = cutmix(q, unlabeled.boxes[0]), cutmix(m, unlabeled.boxes[0])
        t, cold = unlabeled_timesteps(mine, self.config.mask_diffusion.T)
        # never from q: the student must not find its own target inside xt
        xt = self.start_from(probability(c.direct.detach()), mine.normal("noise/unlabeled", *q.shape[1:]), t, cold)
        main, *auxiliary = self.denoise(xt, t, c, mine, "perturb/unlabeled")
        l_main = taught(main, q, m)
        l_cross = cross_consistency(q, [probability(logits) for logits in auxiliary], m)
        parts = {"unlabeled_direct": l_dir, "unlabeled_main": l_main, "unlabeled_cross": l_cross}
        total = l_dir + DENOISER * (l_main + semi.lc * l_cross)
        return total, {**kept, **logs, **{name: value.detach() for name, value in parts.items()}}

    @torch.no_grad()
    def pseudo_label(self, images: Tensor, u: float, draws: Draws) -> tuple[Tensor, Tensor]:
        """q (B, K, H, W) and its confident pixels m (B, 1, H, W).

        q is the direct head's probability, repaired by one warm-started call where that is asked for.
        """
        semi, c = self.config.semi, self.condition(images)
        q, m = probability(c.direct), None
        if u >= RECTIFY_FROM and (semi.rectify != "none" or semi.confidence == "agreement"):
            count = AGREEING if semi.confidence == "agreement" else 1
            t = torch.full((len(q),), self.config.mask_diffusion.start, device=q.device)
            starts = [self.start_from(q, draws.normal(f"noise/teacher/{n}", *q.shape[1:]), t) for n in range(count)]
            several = self.denoise(torch.cat(starts), t.repeat(count), c.repeated(count), None)[0]
            samples = probability(several).view(count, *q.shape)
            if semi.rectify != "none":
                q = samples.mean(dim=0) if semi.rectify == "refine" else (samples.mean(dim=0) + q) / 2.0
            if semi.confidence == "agreement":
                m = agreement_mask(samples)
        return q, confidence_mask(q, semi.kappa_foreground, semi.kappa_background) if m is None else m

    # ---- prediction ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        """See `System`. Modes: direct (no denoiser call), refine (warm start from the direct head), fast (one call
        from noise), quality (`steps` calls from noise), ensemble (refine and direct, weighted), posterior (of refine
        and direct as independent evidence). The twin's calls differ only where each is given the last one's mask.
        """
        if mode not in MODES:
            raise ValueError(f"predict: expected a mode among {', '.join(MODES)}, found {mode!r}")
        c = self.condition(images)
        p_dir = probability(c.direct)
        if mode == "direct":
            return averaged(p_dir[None], {"direct": p_dir})
        if self.method.twin != "none":
            seeds = 1  # nothing random is left
        calls = self.sample(c, p_dir, steps, seeds, mode, case_ids)
        samples = calls[-1]
        if mode == "ensemble":
            weight = self.config.mask_diffusion.ensemble
            samples = weight * samples + (1.0 - weight) * p_dir
        elif mode == "posterior":
            samples = posterior(c.direct.expand_as(samples[0]), logits_of_samples(samples), 0.5, 0.5)
        return averaged(samples, {"direct": p_dir, "calls": torch.stack(calls).mean(dim=1).transpose(0, 1)})

    @torch.no_grad()
    def refine_from(
        self, images: Tensor, p: Tensor, *, start: int, steps: int, seeds: int, case_ids: list[str]
    ) -> Tensor:
        """Probabilities (seeds, B, K, H, W) after `steps` calls that start warm from any estimate p (B, K, H, W)."""
        return self.sample(self.condition(images), p, steps, seeds, "refine", case_ids, start)[-1]

    def sample(
        self,
        c: Condition,
        p: Tensor,
        steps: int,
        seeds: int,
        mode: str,
        case_ids: list[str],
        start: int | None = None,
    ) -> list[Tensor]:
        """Probabilities (seeds, B, K, H, W) after each call of the denoiser, from the estimate p; one batch for all.

        start: t of a warm start, by default the configured one.
        """
        d, shape = self.config.mask_diffusion, p.shape
        cold = mode in ("fast", "quality")
        first = d.T - 1 if cold else d.start if start is None else start
        grid = diffusion.timesteps_from(first, 1 if mode == "fast" else steps)
        noise = torch.cat([diffusion.case_noise(case_ids, seed, tuple(shape[1:])) for seed in range(seeds)])
        noise = noise.to(p.device)
        t = torch.full((len(noise),), first, device=p.device)
        xt = self.start_from(p.repeat(seeds, 1, 1, 1), noise, t, torch.full_like(t, cold, dtype=torch.bool))
        repeated = c.repeated(seeds)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return probability(self.denoise(x, t, repeated, None)[0])

        if self.method.twin == "none":
            outputs = diffusion.ddim(denoise, xt, grid, self.alphas_cumprod, d.input_scale)
        else:
            outputs = []
            for _ in grid:
                outputs.append(denoise(xt, t))
                xt = self.start_from(outputs[-1], noise, t)
        return [p.view(seeds, *shape) for p in outputs]


def supervised_timesteps(draws: Draws, T: int) -> tuple[Tensor, Tensor]:
    """t (B,) and whether the call starts from pure noise at T - 1 (probability 0.25).

    Else with probability 0.8 uniform over the lower 0.6 of the schedule, where warm starts lie, or over the rest.
    """
    u = draws.uniform("t/supervised", 3)
    border = round(COARSE * T)
    low = (u[:, 1] * (border + 1)).long()
    high = border + 1 + (u[:, 1] * max(T - 2 - border, 1)).long()
    cold = u[:, 2] < COLD
    return torch.where(cold, T - 1, torch.where(u[:, 0] < 0.8, low, high).clamp(max=T - 1)), cold


def unlabeled_timesteps(draws: Draws, T: int) -> tuple[Tensor, Tensor]:
    """t (B,) and whether the call starts from pure noise at T - 1 (probability 0.25) or warm at 0.2, 0.4 or 0.6 T."""
    u = draws.uniform("t/unlabeled", 1)[:, 0]
    starts = torch.tensor([min(round(s * T / 1000), T - 1) for s in STARTS], device=u.device)
    t = starts[draws.integers("t/start", 0, len(STARTS), 1)[:, 0]]
    cold = u < COLD
    return torch.where(cold, T - 1, t), cold


def posterior(l_dir: Tensor, l_gen: Tensor, a: float, b: float, c: float = 0.0, prior: float = 0.5) -> Tensor:
    """s(a l_dir + b l_gen - c logit(pi)): both read-outs as evidence, a + b = 1 being neutral; (..., K, H, W)."""
    logit = float(torch.logit(torch.tensor(prior)))
    mixed = a * l_dir + b * l_gen - c * logit
    return mixed.sigmoid() if mixed.shape[-3] == 1 else mixed.softmax(dim=-3)


def logits_of_samples(samples: Tensor) -> Tensor:
    """Logits of probabilities (N, B, K, H, W)."""
    return torch.stack([logits_of(p) for p in samples])


def _mean_loss(decoders: list[Tensor], y: Tensor) -> Tensor:
    """BCEDice averaged over the main and the auxiliary decoders."""
    return torch.stack([bce_dice(logits, y) for logits in decoders]).mean()


def build(config: SystemConfig, *, pretrained: bool) -> CrossDiff:
    system = CrossDiff(config)
    if pretrained and config.encoder.weights == "lite0":
        load_pretrained(system.encoder)
    return system
