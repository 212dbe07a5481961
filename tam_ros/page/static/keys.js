// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The keyboard.

const STEP = 8; // pixels of the screen; with Shift one
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `on` has: moveCross(dx, dy), mark(kind), corner(), cancel(), select(number), remove(), rename(),
// pause(), undo(), zoom(factor), fit().
export function bindKeys(on) {
  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]') || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, target } = event;
    const isField = target instanceof HTMLInputElement;
    const isControl = target.matches('button, summary, input');
    if (isField && target.type !== 'checkbox') return;
    if (isControl && (key === ' ' || key === 'Enter')) return; // they press it
    const action = ARROWS[key] && !isControl ? () => arrow(event, on) : actionOf(event, on);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function arrow(event, on) {
  const [dx, dy] = ARROWS[event.key];
  const step = event.shiftKey ? 1 : STEP;
  on.moveCross(dx * step, dy * step);
}

function actionOf(event, on) {
  const { key } = event;
  if (/^[1-9]$/.test(key)) return () => on.select(Number(key));
  const actions = {
    ' ': on.pause,
    Enter: () => on.mark(event.shiftKey ? 'hold' : 'tap'),
    Escape: on.cancel,
    Delete: on.remove,
    Backspace: on.remove,
    b: on.corner,
    r: on.rename,
    u: on.undo,
    '+': () => on.zoom(Math.SQRT2),
    '-': () => on.zoom(Math.SQRT1_2),
    0: on.fit,
  };
  return actions[key.length === 1 ? key.toLowerCase() : key];
}
