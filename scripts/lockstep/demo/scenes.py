"""The drawn scenes of the small benchmark: what to edit, why, and a picture of each."""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw

from lockstep.demo import pictures
from lockstep.demo.brush import Draw

OVERSAMPLING = 4
"""Scenes are drawn this many times larger, because `ImageDraw` does not smooth edges."""


class Scene(NamedTuple):
    subset: str
    """Chinese name of the category."""
    instruction: str
    """What an editor is asked to do."""
    instruction_zh: str
    """The instruction in Chinese."""
    description: str
    """What the picture shows."""
    description_zh: str
    """The description in Chinese."""
    rationale: str
    """What a good edit shows, and why."""
    rationale_zh: str
    """The rationale in Chinese."""
    draw: Callable[[Draw], None]
    """Draws the scene over the whole canvas."""
    needs_colour: bool = False
    """Whether the instruction names a colour, so that the scene is never greyscale."""


def render(scene: Scene, size: tuple[int, int], repetition: int = 0) -> Image.Image:
    """Draw a scene in RGB.

    Args:
        repetition: which copy of the scene; each stands in a light of its own.
    """
    image = Image.new("RGB", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))
    scene.draw(ImageDraw.Draw(image, "RGBA"))
    image = image.resize(size, Image.Resampling.LANCZOS)
    if repetition:
        # no mirroring and no turning of hues: left must stay left, and red must stay red
        hue = repetition * 0.618 % 1
        light = colorsys.hsv_to_rgb(hue, 0.12, 1)
        tint = Image.new("RGB", size, tuple(round(255 * part) for part in light))
        image = ImageChops.multiply(image, tint)
    return image


SCENES = (
    Scene(
        "物理",
        "Let go of the red ball above the table.",
        "松开桌子上方的红球。",
        "A red ball held above a table.",
        "桌子上方悬着一个红球。",
        "It falls, rests on the table and casts a shadow where it touches.",
        "红球会落到桌面上，并在接触处投下影子。",
        pictures.held_ball,
        needs_colour=True,
    ),
    Scene(
        "物理",
        "Heat the ice cube on the plate for an hour.",
        "把盘子里的冰块加热一小时。",
        "An ice cube on a plate.",
        "盘子里有一块冰。",
        "The ice melts and leaves a puddle.",
        "冰会融化，留下一滩水。",
        pictures.ice_on_plate,
    ),
    Scene(
        "环境",
        "Make it a winter morning.",
        "改成冬天的早晨。",
        "A house and a tree in summer.",
        "夏天的房子和树。",
        "Snow lies on the roof, the tree is bare, the light is low and cold.",
        "屋顶有雪，树叶落尽，光线低而冷。",
        pictures.house_in_summer,
    ),
    Scene(
        "环境",
        "Show the same place after heavy rain.",
        "展示大雨之后的同一个地方。",
        "A dry road under a grey sky.",
        "灰色天空下干燥的路。",
        "The road is wet and reflects the sky.",
        "路面是湿的，映出天空。",
        pictures.dry_road,
    ),
    Scene(
        "社会",
        "Dress the person for a wedding as the groom.",
        "给这个人穿上新郎的礼服。",
        "A person in a plain shirt.",
        "一个穿普通衬衫的人。",
        "Custom asks for a suit and a flower, the person stays the same.",
        "按习俗应穿西装戴花，人物保持不变。",
        pictures.person_in_shirt,
    ),
    Scene(
        "社会",
        "Set the table for a guest of honour.",
        "为贵宾布置餐桌。",
        "An empty table with one chair.",
        "一张空桌和一把椅子。",
        "A place of honour has cutlery, a glass and a napkin.",
        "贵宾席应有餐具、杯子和餐巾。",
        pictures.table_and_chair,
    ),
    Scene(
        "因果",
        "The dog has just run through the flower bed; show it.",
        "狗刚刚跑过花坛，请画出来。",
        "A flower bed in order.",
        "整齐的花坛。",
        "Flowers are bent, and paw prints lie in the soil.",
        "花被压弯，土里有爪印。",
        pictures.flower_bed,
    ),
    Scene(
        "因果",
        "The candle has burnt all night.",
        "蜡烛燃烧了一整夜。",
        "A tall new candle.",
        "一支高高的新蜡烛。",
        "Only a stub and a pool of wax are left.",
        "只剩下一小段和一滩蜡。",
        pictures.new_candle,
    ),
    Scene(
        "指代",
        "Paint the smaller of the two boxes blue.",
        "把两个盒子中较小的那个涂成蓝色。",
        "A large and a small box.",
        "一大一小两个盒子。",
        "Only the small box changes.",
        "只有小盒子改变。",
        pictures.two_boxes,
        needs_colour=True,
    ),
    Scene(
        "指代",
        "Remove what stands left of the lamp.",
        "移除台灯左边的东西。",
        "A book, a lamp and a cup in a row.",
        "一本书、一盏灯和一个杯子排成一行。",
        "The book goes, the cup stays.",
        "书被移走，杯子保留。",
        pictures.book_lamp_cup,
    ),
)
"""Two scenes of each category, in the order of the benchmark."""
