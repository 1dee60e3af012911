"""What the drawn world's instructions are called, in English and Chinese.

The last wording of each list is held out: no model is trained on it.
"""

import random

KINDS: dict[str, tuple[str, ...]] = {
    "physical": ("drop", "melt", "cut", "tip"),
    "environmental": ("night", "snow", "rain", "autumn"),
    "social": ("wedding", "work", "birthday", "guest"),
    "causal": ("burn", "fall", "eat", "dog"),
    "referential": ("paint_small", "paint_big", "paint_ball", "remove_left", "remove_right"),
}
"""Instructions of each category."""

SUBSETS = {
    "physical": "物理",
    "environmental": "环境",
    "social": "社会",
    "causal": "因果",
    "referential": "指代",
}

OWN = {
    "physical": "physics",
    "environmental": "environment",
    "social": "custom",
    "causal": "causality",
    "referential": "reference",
}
"""The criterion that a category has for itself."""

EFFECTS = {
    "drop": "the ball lies on the table",
    "melt": "the ice is a puddle",
    "cut": "the balloon is at the ceiling",
    "tip": "the glass lies in its water",
    "night": "it is night",
    "snow": "snow covers all",
    "rain": "it rains",
    "autumn": "the leaves turn brown",
    "wedding": "the person wears a suit",
    "work": "the person wears a helmet",
    "birthday": "the person wears a party hat",
    "guest": "the table is set for two",
    "burn": "the candle is burnt down",
    "fall": "the vase lies in pieces",
    "eat": "the apple is eaten",
    "dog": "the flowers are trampled",
    "paint_small": "the smaller box is {colour}",
    "paint_big": "the bigger box is {colour}",
    "paint_ball": "the ball is {colour}",
    "remove_left": "the thing left of the lamp is gone",
    "remove_right": "the thing right of the lamp is gone",
}
"""What a right edit shows, as a judge says it."""

ENGLISH: dict[str, tuple[str, ...]] = {
    "drop": (
        "Let the ball go",
        "Let go of the ball",
        "The hand opens and the ball falls",
        "Drop the ball",
        "Open the hand and drop the ball",
    ),
    "melt": (
        "Heat the ice",
        "Let the ice melt",
        "Melt the ice",
        "The ice gets warm",
        "Let the ice get warm and melt",
    ),
    "cut": (
        "Cut the string of the balloon",
        "Let the balloon fly",
        "The string of the balloon is cut",
        "Let go of the balloon",
        "Cut the string and let the balloon fly",
    ),
    "tip": (
        "Tip the glass over",
        "Knock the glass over",
        "The glass falls over",
        "Push the glass over",
        "Knock over the glass of water",
    ),
    "night": (
        "Make it night",
        "Show this place at night",
        "Turn day into night",
        "It is midnight now",
        "Show it at midnight",
    ),
    "snow": (
        "Make it snow",
        "Show this place in deep snow",
        "Turn it into winter",
        "It has snowed all day",
        "Show this place in winter after it has snowed",
    ),
    "rain": (
        "Make it rain",
        "Show this place in the rain",
        "It rains on the road",
        "Turn it into a rainy day",
        "Show it on a rainy day",
    ),
    "autumn": (
        "Make it autumn",
        "Show this place in autumn",
        "Turn summer into autumn",
        "It is late autumn now",
        "Show it in late autumn",
    ),
    "wedding": (
        "Dress the person for a wedding",
        "The person gets married today",
        "Get this person ready for a wedding",
        "Dress the person like a groom",
        "Dress this person, who gets married today",
    ),
    "work": (
        "Dress the person for a building site",
        "The person works on a building site",
        "Get this person ready for a building site",
        "Dress the person like a builder",
        "Dress this person, who works as a builder",
    ),
    "birthday": (
        "Celebrate a birthday",
        "It is the person's birthday",
        "Make it a birthday party",
        "Get the person ready for a birthday party",
        "Celebrate this person's birthday",
    ),
    "guest": (
        "Set a place for a guest",
        "A guest comes to eat",
        "Set the table for a guest",
        "Get the table ready for a guest",
        "Set the table, a guest comes to eat",
    ),
    "burn": (
        "Let the candle burn for hours",
        "Show the candle hours later",
        "The candle has burnt down",
        "The candle burns all night",
        "Let the candle burn down",
    ),
    "fall": (
        "The vase has fallen down",
        "Let the vase fall",
        "Someone pushed the vase off the shelf",
        "The vase breaks on the floor",
        "Let the vase fall off the shelf",
    ),
    "eat": (
        "Someone has eaten the apple",
        "Eat the apple",
        "The apple was eaten",
        "A hungry child took the apple",
        "A hungry child has eaten the apple",
    ),
    "dog": (
        "The dog has run through the flowers",
        "A dog ran over the flowers",
        "Let a dog run through the flowers",
        "The dog played in the flowers",
        "A dog has played in the flowers",
    ),
    "paint_small": (
        "Paint the smaller box {colour}",
        "Make the small box {colour}",
        "The smaller box turns {colour}",
        "Turn the little box {colour}",
        "Paint the little box {colour}",
    ),
    "paint_big": (
        "Paint the bigger box {colour}",
        "Make the big box {colour}",
        "The bigger box turns {colour}",
        "Turn the large box {colour}",
        "Paint the large box {colour}",
    ),
    "paint_ball": (
        "Paint the ball {colour}",
        "Make the ball {colour}",
        "The ball turns {colour}",
        "Turn the round thing {colour}",
        "Paint the round thing {colour}",
    ),
    "remove_left": (
        "Remove what stands left of the lamp",
        "Take away the thing left of the lamp",
        "Remove the left neighbour of the lamp",
        "The thing to the left of the lamp is gone",
        "Take away what stands left of the lamp",
    ),
    "remove_right": (
        "Remove what stands right of the lamp",
        "Take away the thing right of the lamp",
        "Remove the right neighbour of the lamp",
        "The thing to the right of the lamp is gone",
        "Take away what stands right of the lamp",
    ),
}

CHINESE: dict[str, tuple[str, ...]] = {
    "drop": ("松开球", "让球落下", "手张开，球落下", "放开球", "张开手，放开球"),
    "melt": ("加热冰块", "让冰块融化", "冰块变热", "融化冰块", "让冰块变热融化"),
    "cut": ("剪断气球的线", "让气球飞走", "气球的线断了", "放开气球", "剪断线，让气球飞走"),
    "tip": ("推倒杯子", "打翻杯子", "杯子倒了", "把杯子推倒", "把杯子打翻"),
    "night": ("变成夜晚", "让这里变成夜晚", "现在是半夜", "把白天变成夜晚", "让这里变成半夜"),
    "snow": ("下雪", "让这里下大雪", "变成冬天", "下了一天的雪", "让这里变成下雪的冬天"),
    "rain": ("下雨", "让这里下大雨", "雨落在路上", "变成雨天", "让这里变成雨天"),
    "autumn": ("变成秋天", "让这里变成秋天", "现在是深秋", "把夏天变成秋天", "让这里变成深秋"),
    "wedding": (
        "为婚礼打扮这个人",
        "这个人今天结婚",
        "让这个人准备好婚礼",
        "打扮成新郎",
        "把这个人打扮成新郎",
    ),
    "work": (
        "为工地打扮这个人",
        "这个人在工地工作",
        "让这个人准备好去工地",
        "打扮成建筑工人",
        "把这个人打扮成建筑工人",
    ),
    "birthday": (
        "庆祝生日",
        "今天是这个人的生日",
        "变成生日聚会",
        "让这个人过生日",
        "庆祝这个人的生日",
    ),
    "guest": (
        "为客人摆好餐具",
        "客人来吃饭",
        "为客人准备餐桌",
        "摆一份客人的餐具",
        "客人来了，摆好餐具",
    ),
    "burn": ("让蜡烛烧几个小时", "几个小时后的蜡烛", "蜡烛烧完了", "蜡烛烧了一夜", "让蜡烛烧一夜"),
    "fall": (
        "花瓶掉下来了",
        "让花瓶掉下来",
        "有人把花瓶推下架子",
        "花瓶在地上摔碎",
        "花瓶掉下架子",
    ),
    "eat": ("有人吃了苹果", "吃掉苹果", "苹果被吃了", "饿了的孩子拿了苹果", "饿了的孩子吃掉苹果"),
    "dog": ("狗跑过花丛", "狗从花上跑过", "让狗跑过花丛", "狗在花里玩", "狗在花丛里玩"),
    "paint_small": (
        "把较小的箱子涂成{colour}",
        "让小箱子变成{colour}",
        "较小的箱子变成{colour}",
        "把小箱子变成{colour}",
        "把小箱子涂成{colour}",
    ),
    "paint_big": (
        "把较大的箱子涂成{colour}",
        "让大箱子变成{colour}",
        "较大的箱子变成{colour}",
        "把大箱子变成{colour}",
        "把大箱子涂成{colour}",
    ),
    "paint_ball": (
        "把球涂成{colour}",
        "让球变成{colour}",
        "球变成{colour}",
        "把圆的东西变成{colour}",
        "把圆的东西涂成{colour}",
    ),
    "remove_left": (
        "去掉灯左边的东西",
        "拿走灯左边的东西",
        "去掉灯的左邻",
        "灯左边的东西不见了",
        "把灯左边的东西拿走",
    ),
    "remove_right": (
        "去掉灯右边的东西",
        "拿走灯右边的东西",
        "去掉灯的右邻",
        "灯右边的东西不见了",
        "把灯右边的东西拿走",
    ),
}

COLOURS_CHINESE = {
    "red": "红色",
    "green": "绿色",
    "blue": "蓝色",
    "yellow": "黄色",
    "purple": "紫色",
    "white": "白色",
}


def instruction(
    kind: str, detail: dict[str, str], rng: random.Random, *, chinese: bool, held_out: bool
) -> str:
    """Return an instruction in one of its wordings.

    Args:
        held_out: take the wording that no model was trained on.
    """
    wordings = (CHINESE if chinese else ENGLISH)[kind]
    wording = wordings[-1] if held_out else rng.choice(wordings[:-1])
    if chinese:
        detail = {name: COLOURS_CHINESE[value] for name, value in detail.items()}
        return wording.format(**detail) + "。"
    return wording.format(**detail) + "."
