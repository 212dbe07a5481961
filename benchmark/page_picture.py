# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Makes docs/images/page.png: the page in Chromium, with two objects of the drawn clip.

    python -m benchmark.page_picture [--out docs/images/page.png] [--phone]

The objects are clicked on the first image of the clip, which then plays for a while.
"""

from __future__ import annotations

import argparse
import io
import re
import tempfile
from pathlib import Path

from benchmark import graph
from tam_ros.demo.scene import HEIGHT, WIDTH, DemoScene

CHROMIUM = '/usr/bin/chromium'
NAMES = ('fish', 'jellyfish')
MAX_COLOURS = 256  # a PNG of less than 300 kB


def main(argv: list[str] | None = None) -> int:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=graph.ROOT / 'docs' / 'images' / 'page.png')
    parser.add_argument('--phone', action='store_true', help='on the screen of a phone')
    parser.add_argument('--seconds', type=float, default=1.5, help='of the clip')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        graph.isolate(Path(folder))
        args.out.write_bytes(quantised(screenshot(args.phone, args.seconds)))
    print(f'{args.out}: {args.out.stat().st_size // 1000} kB')
    return 0


def screenshot(phone: bool, seconds: float) -> bytes:
    """Return a PNG of the page."""
    from playwright.sync_api import sync_playwright
    from std_srvs.srv import Trigger

    from tam_ros.client import TamClient

    width, height = (390, 760) if phone else (1040, 560)
    node = ['tam_ros.ros.track_node', *graph.node_arguments('image', skip_occluded_memories=True)]
    page_node = ['tam_ros.page.page_node', '--ros-args', '-p', 'port:=0']
    camera = ['tam_ros.demo.camera', '--wait-for-play', '--loop']
    with (
        graph.processes(node, page_node, camera) as children,
        TamClient(timeout=60) as client,
        sync_playwright() as playwright,
    ):
        client.wait_for_image()
        pattern = re.compile(r'page: open (\S+)')
        graph.wait_for(
            'the page', lambda: pattern.search(children[1].log.read_text()), 60, children
        )
        found = pattern.search(children[1].log.read_text())
        assert found is not None
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu']
        )
        page = browser.new_page(
            viewport={'width': width, 'height': height}, color_scheme='dark', has_touch=phone
        )
        page.goto(found[1])
        page.wait_for_selector('#empty', state='hidden')
        page.wait_for_timeout(1000)
        for number, (name, prompt) in enumerate(
            zip(NAMES, DemoScene().click_prompts, strict=True), 1
        ):
            stage = page.locator('#view').bounding_box()
            assert stage is not None
            scale = min(stage['width'] / WIDTH, stage['height'] / HEIGHT)
            x, y = prompt.points[0]
            page.mouse.click(
                stage['x'] + stage['width'] / 2 + (x + 0.5 - WIDTH / 2) * scale,
                stage['y'] + stage['height'] / 2 + (y + 0.5 - HEIGHT / 2) * scale,
            )
            client.wait_until_visible(number)
            row = page.locator(f'#objects li[data-id="{number}"]')
            row.get_by_role('button', name='Rename').click()
            page.fill('#rename-name', name)
            page.keyboard.press('Enter')
            page.wait_for_function('name => document.body.innerText.includes(name)', arg=name)
        client.call(Trigger, '/camera/play', Trigger.Request())
        page.wait_for_timeout(1e3 * seconds)
        page.wait_for_function('document.querySelectorAll("#objects li").length === 2')
        page.evaluate('document.activeElement.blur()')
        data: bytes = page.screenshot()
        browser.close()
    return data


def quantised(png: bytes) -> bytes:
    """Return a PNG with a palette."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert('RGB')
    small = image.quantize(MAX_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    out = io.BytesIO()
    small.save(out, 'PNG', optimize=True)
    return out.getvalue()


if __name__ == '__main__':
    main()
