"""The Swin v1 classifiers (arXiv 2103.14030, Sec. 3.3).

Shapes: `B` batch, `H W` image in pixels.
"""

from itertools import islice

from torch import Tensor, nn

from .patch import PatchEmbed, PatchMerging
from .swin import SwinStage, drop_path_rates, init_linear


class SwinTransformer(nn.Module):
    """Swin v1 classifier (arXiv 2103.14030, Sec. 3.3).

    Args:
        embed_dim: channels of the first stage; each later stage doubles them.
        depths: blocks of each stage; odd numbers get the next even one, as in `SwinStage`.
        num_heads: heads of each stage.
        window_size: side of a window in tokens.
        mlp_ratio: hidden channels of the MLPs as a multiple of the stage's.
        patch_size: side of a patch in pixels.
        num_classes: width of the classifier.
        local: local terms in every block, see `SwinBlock`.
        drop_path: drop probability of the last block; the others rise to it linearly from 0.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        patch_size: int = 4,
        num_classes: int = 1000,
        local: bool = False,
        drop_path: float = 0.0,
    ):
        super().__init__()
        depths = tuple(depth + depth % 2 for depth in depths)
        rates = iter(drop_path_rates(drop_path, sum(depths)))
        dims = [embed_dim * 2**i for i in range(len(depths))]
        self.patch_embed = PatchEmbed(3, embed_dim, patch_size)
        self.stages = nn.ModuleList(
            SwinStage(dim, dim, depth, window_size, mlp_ratio, local, heads, drop_path=list(islice(rates, depth)))
            for dim, depth, heads in zip(dims, depths, num_heads, strict=True)
        )
        self.downsamples = nn.ModuleList(PatchMerging(dim) for dim in dims[:-1])
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        init_linear(self.head)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the NCHW maps of all stages, at strides 4, 8, 16, 32."""
        x = self.patch_embed(x)
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(self.downsamples[i - 1](x) if i else x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, num_classes) logits."""
        x = self.norm(self.forward_features(x)[-1].permute(0, 2, 3, 1))  # B H W C
        return self.head(x.mean(dim=(1, 2)))


def swin_t(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.2) -> SwinTransformer:
    """Swin-T: 28,288,354 parameters at 1000 classes."""
    return SwinTransformer(num_classes=num_classes, local=local, drop_path=drop_path)


def swin_s(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.3) -> SwinTransformer:
    """Swin-S: 49,606,258 parameters at 1000 classes."""
    return SwinTransformer(depths=(2, 2, 18, 2), num_classes=num_classes, local=local, drop_path=drop_path)


def swin_b(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.5) -> SwinTransformer:
    """Swin-B: 87,768,224 parameters at 1000 classes."""
    return SwinTransformer(
        embed_dim=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        num_classes=num_classes,
        local=local,
        drop_path=drop_path,
    )


def swin_l(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.5) -> SwinTransformer:
    """Swin-L: 196,532,476 parameters at 1000 classes."""
    return SwinTransformer(
        embed_dim=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        num_classes=num_classes,
        local=local,
        drop_path=drop_path,
    )
