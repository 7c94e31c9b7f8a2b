"""`crossdiff`: a conditional diffusion segmenter with a direct head, cross-consistency and a warm-started refiner.

An encoder and a guidance decoder run once per image; a small denoiser, told about the image at every scale, predicts
the mask from a noised estimate of it. In prediction it starts from the direct head's own mask and repairs it; in
training the moving-average teacher repairs its pseudo-labels in the same way. Perturbed auxiliary decoders are pulled
to the teacher on unlabeled images (Ouali et al. 2020), and never run in prediction.

`twin: true` is the same network with the same number of calls, without diffusion: no mask enters, t = T - 1 always.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.params.segmenter import CrossdiffParams
from pipelines.runtime.randomness import Draws
from segmentation import mask_diffusion as diffusion
from segmentation.augmentations import cutmix
from segmentation.consistency import (
    confidence_mask,
    consistency_weight,
    cross_consistency,
    keep_rates,
    masked_cross_entropy,
    masked_dice,
)
from segmentation.estimates import corrupt
from segmentation.losses import bce_dice, hard_dice, logits_of, probability
from segmentation.modules.blocks import scaled
from segmentation.modules.denoiser import Denoiser
from segmentation.modules.encoder import ImageEncoder, by_stream, load_pretrained, resolve_norm
from segmentation.modules.guidance import DirectHead, GuidanceDecoder
from segmentation.perturbations import perturbations
from segmentation.system import MODES, Batch, Prediction, System, SystemConfig, Unlabeled, averaged, draws_for

WIDTHS = (64, 96, 192, 256)  # at strides 2, 4, 8, 16
EMBEDDING = 256
COARSE = 0.6  # share of T below which a supervised step lies with probability 0.8: where a warm start lies
STARTS = (200, 400, 600)  # thousandths of T: warm starts of the student on unlabeled images
RECTIFY_FROM = 0.1  # u at which the denoiser is trusted with pseudo-labels
ENSEMBLE = 0.5  # weight of the refined probability beside the direct one


@dataclass(frozen=True)
class Condition:
    """What an image tells the denoiser. maps: c_1..c_4; direct: logits (B, K, H, W) of the direct head."""

    maps: list[Tensor]
    direct: Tensor

    def repeated(self, times: int) -> list[Tensor]:
        """The maps for `times` samples of each image, (times * B, C, h, w)."""
        return self.maps if times == 1 else [c.repeat(times, 1, 1, 1) for c in self.maps]


class CrossDiff(nn.Module):
    """Encoder E, guidance decoder Gd, direct head, denoiser; see the module's text."""

    alphas_cumprod: Tensor

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        assert isinstance(config.method, CrossdiffParams)
        self.config, self.method = config, config.method
        d = config.mask_diffusion
        widths = [scaled(c, config.width) for c in WIDTHS]
        norm = resolve_norm(config.encoder.norm, config.encoder.weights)
        self.encoder = ImageEncoder(config.encoder.name, norm, config.mean, config.std)
        self.guidance = GuidanceDecoder(self.encoder.channels, widths, self.method.global_context)
        self.direct = DirectHead(widths[0], config.classes)
        self.denoiser = Denoiser(
            config.classes,
            widths,
            scaled(EMBEDDING, config.width),
            self.method.aux_decoders,
            self.method.multi_scale,
        )
        alphas_cumprod = diffusion.linear_alphas_cumprod(d.T, d.beta_start, d.beta_end)
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)

    def condition(self, images: Tensor, synthetic: Tensor | None = None) -> Condition:
        """Run E, Gd and the direct head once. images: (B, 1, H, W) in [0, 1]; synthetic: (B,) bool, see `by_stream`."""
        if synthetic is None:
            features = self.encoder(images)
        else:
            features = by_stream(self.encoder, self.encoder, images, synthetic)
        maps = self.guidance(features)
        return Condition(maps, self.direct(maps[0]).float())

    def denoise(self, xt: Tensor, t: Tensor, maps: list[Tensor], draws: Draws | None, stream: str = "") -> list[Tensor]:
        """Logits (B, K, H, W) of one call: [main], and with draws the auxiliary decoders, perturbed, behind it.

        The twin hears neither xt nor t.
        """
        d = self.config.mask_diffusion
        if self.method.twin:
            x, t = torch.zeros_like(xt), torch.full_like(t, d.T - 1)
        else:
            x = diffusion.unit_variance(xt, t, self.alphas_cumprod, d.input_scale)
        kinds = None if draws is None else perturbations(draws, stream, len(self.denoiser.auxiliary))
        return [logits.float() for logits in self.denoiser(x, t, maps, kinds)]

    def noised(self, p: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Start from an estimate p (B, K, H, W) of the mask instead of pure noise."""
        return diffusion.q_sample(2.0 * p - 1.0, eps, t, self.alphas_cumprod, self.config.mask_diffusion.input_scale)

    # ---- training ------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch, u: float, draws: Draws, teacher: System | None) -> dict[str, Tensor]:
        """L = L_sup + w(u) L_u; the other keys are for logs."""
        supervised, logs = self._supervised(batch.images, batch.masks, draws)
        if batch.unlabeled is None:
            return {"total": supervised, **logs}
        assert isinstance(teacher, CrossDiff), "unlabeled images need the moving average as teacher"
        unlabeled_draws = draws_for(draws, len(batch.unlabeled.weak))
        unlabeled, more = self._unlabeled(batch.unlabeled, u, unlabeled_draws, teacher)
        semi = self.config.semi
        weight = batch.unlabeled.weight * consistency_weight(u, semi.w_max, semi.ramp)
        return {"total": supervised + weight * unlabeled, **logs, **more}

    def _supervised(self, images: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """L_sup = 1/4 L(l^T) + 3/4 L(l^t) + 1/2 BCEDice(l_dir): from noise, from a damaged estimate, direct."""
        T = self.config.mask_diffusion.T
        c = self.condition(images)
        last = torch.full((len(y),), T - 1, device=y.device)
        first = self.denoise(draws.normal("noise/first", *y.shape[1:]), last, c.maps, draws, "perturb/first")
        e = self.estimate(y, first[0].detach(), draws)
        t = supervised_timesteps(draws, T)
        xt = self.noised(e, draws.normal("noise/second", *y.shape[1:]), t)
        second = self.denoise(xt, t, c.maps, draws, "perturb/second")
        parts = {"first": _mean_loss(first, y), "second": _mean_loss(second, y), "direct": bce_dice(c.direct, y)}
        total = 0.25 * parts["first"] + 0.75 * parts["second"] + 0.5 * parts["direct"]
        logs = {"supervised": total, **parts}
        with torch.no_grad():
            logs["dice_estimate"] = hard_dice(e, y)
            for name, logits in (("first", first[0]), ("second", second[0]), ("direct", c.direct)):
                logs[f"dice_{name}"] = hard_dice(probability(logits), y)
        return total, {name: value.detach() for name, value in logs.items()}

    def estimate(self, y: Tensor, first: Tensor, draws: Draws) -> Tensor:
        """e (B, K, H, W) in [0, 1], without gradient: the damaged mask, the first call's output, or y as a control."""
        d = self.config.mask_diffusion
        if d.estimate == "corrupt":
            with torch.autocast(y.device.type, enabled=False):  # blurs and warps in float32
                return corrupt(y, draws, "estimate", d.strength)
        return probability(first) if d.estimate == "self" else y.float()

    def _unlabeled(
        self, batch: Unlabeled, u: float, draws: Draws, teacher: CrossDiff
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_u = L_main + lc L_cross + 1/2 L_dir against the teacher's rectified pseudo-label on confident pixels."""
        semi = self.config.semi
        q = teacher.pseudo_label(batch.weak, u, draws)
        m = confidence_mask(q, semi.kappa_foreground, semi.kappa_background) * batch.valid
        keep_foreground, keep_background = keep_rates(q, m)
        q, m = cutmix(q, batch.boxes), cutmix(m, batch.boxes)
        c = self.condition(cutmix(batch.strong, batch.boxes), batch.synthetic)
        t, cold = unlabeled_timesteps(draws, self.config.mask_diffusion.T)
        eps = draws.normal("noise/unlabeled", *q.shape[1:])
        # never from q: the student must not find its own target inside xt
        xt = torch.where(cold[:, None, None, None], eps, self.noised(probability(c.direct.detach()), eps, t))
        main, *auxiliary = self.denoise(xt, t, c.maps, draws, "perturb/unlabeled")
        l_main = masked_cross_entropy(main, q, m) + masked_dice(probability(main), q, m)
        l_cross = cross_consistency(q, [probability(logits) for logits in auxiliary], m)
        l_dir = masked_cross_entropy(c.direct, q, m) + masked_dice(probability(c.direct), q, m)
        logs = {"unlabeled_main": l_main, "unlabeled_cross": l_cross, "unlabeled_direct": l_dir}
        logs |= {"keep_foreground": keep_foreground, "keep_background": keep_background}
        total = l_main + semi.lc * l_cross + 0.5 * l_dir
        return total, {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def pseudo_label(self, images: Tensor, u: float, draws: Draws) -> Tensor:
        """q (B, K, H, W): the direct head's probability, repaired by one warm-started call where that is asked for."""
        c = self.condition(images)
        q = probability(c.direct)
        if self.method.twin or not self.config.semi.rectify or u < RECTIFY_FROM:
            return q
        t = torch.full((len(q),), self.config.mask_diffusion.start, device=q.device)
        xt = self.noised(q, draws.normal("noise/teacher", *q.shape[1:]), t)
        return probability(self.denoise(xt, t, c.maps, None)[0])

    # ---- prediction ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        """See `System`. Modes: direct (no denoiser call), refine (warm start from the direct head), fast (one call
        from noise), quality (`steps` calls from noise), ensemble (mean of refine and direct), posterior (of refine and
        direct as independent evidence). The twin makes one call whatever the mode.
        """
        if mode not in MODES:
            raise ValueError(f"predict: expected a mode among {', '.join(MODES)}, found {mode!r}")
        c = self.condition(images)
        p_dir = probability(c.direct)
        if mode == "direct":
            return averaged(p_dir[None], {"direct": p_dir})
        if self.method.twin:
            seeds = 1  # nothing random is left
        calls = self.sample(c, p_dir, steps, seeds, mode, case_ids)
        samples = calls[-1]
        if mode == "ensemble":
            samples = ENSEMBLE * samples + (1.0 - ENSEMBLE) * p_dir
        elif mode == "posterior":
            samples = posterior(c.direct.expand_as(samples[0]), logits_of_samples(samples), 0.5, 0.5)
        return averaged(samples, {"direct": p_dir, "calls": torch.stack(calls).mean(dim=1).transpose(0, 1)})

    def sample(
        self, c: Condition, p_dir: Tensor, steps: int, seeds: int, mode: str, case_ids: list[str]
    ) -> list[Tensor]:
        """Probabilities (seeds, B, K, H, W) after each call of the denoiser. Seeds run as one batch."""
        d, shape = self.config.mask_diffusion, p_dir.shape
        noise = torch.cat([diffusion.case_noise(case_ids, seed, tuple(shape[1:])) for seed in range(seeds)])
        xt = noise.to(p_dir.device)
        cold = mode in ("fast", "quality")
        start = d.T - 1 if cold or self.method.twin else d.start
        calls = 1 if mode == "fast" or self.method.twin else steps
        if not cold:
            t = torch.full((len(xt),), start, device=xt.device)
            xt = self.noised(p_dir.repeat(seeds, 1, 1, 1), xt, t)
        maps = c.repeated(seeds)
        grid = diffusion.timesteps_from(start, calls)
        outputs = diffusion.ddim(
            lambda x, t: probability(self.denoise(x, t, maps, None)[0]), xt, grid, self.alphas_cumprod, d.input_scale
        )
        return [p.view(seeds, *shape) for p in outputs]


def supervised_timesteps(draws: Draws, T: int) -> Tensor:
    """t (B,): with probability 0.8 uniform over the lower 0.6 of the schedule, else over the rest below T - 1."""
    u = draws.uniform("t/supervised", 2)
    border = round(COARSE * T)
    low = (u[:, 1] * (border + 1)).long()
    high = border + 1 + (u[:, 1] * max(T - 2 - border, 1)).long()
    return torch.where(u[:, 0] < 0.8, low, high).clamp(max=T - 1)


def unlabeled_timesteps(draws: Draws, T: int) -> tuple[Tensor, Tensor]:
    """t (B,) and whether the call starts from pure noise at T - 1 (probability 0.25) or warm at 0.2, 0.4 or 0.6 T."""
    u = draws.uniform("t/unlabeled", 1)[:, 0]
    starts = torch.tensor([min(round(s * T / 1000), T - 1) for s in STARTS], device=u.device)
    t = starts[draws.integers("t/start", 0, len(STARTS), 1)[:, 0]]
    cold = u >= 0.75
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
