// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Puts the parts of the page together.

import { Connection } from './connection.js';
import { Gestures } from './gestures.js';
import { bindKeys } from './keys.js';
import { ObjectList } from './objects.js';
import { Pictures } from './pictures.js';
import { Requests, boxOf, dialog } from './requests.js';
import { canvas, get, painter, redraw, state, view } from './state.js';
import { note, showTexts } from './texts.js';

function showObjects(objects) {
  state.objects = objects;
  if (state.selected && !objects.some((item) => item.id === state.selected)) state.selected = 0;
  list.show(objects, state.selected);
  showTexts();
}

function select(id) {
  state.selected = state.selected === id ? 0 : id;
  list.show(state.objects, state.selected);
  showTexts();
  redraw();
}

// --- choices ---

function watch() {
  // A page in the background needs nothing.
  const camera = document.hidden ? '' : state.camera;
  connection.send({ type: 'watch', camera, pictures: !state.paused });
}

function choose(camera) {
  if (camera === state.camera) return;
  state.camera = camera;
  state.status = null;
  state.frame?.close();
  Object.assign(state, { frame: null, selected: 0, marks: [], box: null, corner: null, problem: '' });
  setPaused(false);
  showObjects([]);
  showCameras();
  watch();
  redraw();
}

function showCameras() {
  const buttons = state.cameras.map((camera) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = camera.replace(/^\//, '').replace(/\/track_node$/, '');
    button.setAttribute('aria-current', String(camera === state.camera));
    button.addEventListener('click', () => choose(camera));
    return button;
  });
  get('cameras').replaceChildren(...buttons);
  get('cameras').hidden = buttons.length < 2 && state.cameras[0] === state.camera;
}

function setPaused(paused) {
  if (paused === state.paused) return;
  state.paused = paused;
  get('pause').setAttribute('aria-pressed', String(paused));
  get('pause').textContent = paused ? 'Continue' : 'Pause';
  watch();
  showTexts();
}

function zoom(factor, place = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 }) {
  view.zoomAt(place.x, place.y, factor);
  redraw();
}

function fit() {
  view.fit();
  redraw();
}

// --- what arrives ---

const receivers = {
  hello({ may_prompt: mayPrompt, colours }) {
    state.mayPrompt = mayPrompt;
    document.body.classList.toggle('read-only', !mayPrompt);
    painter.colours = colours;
    painter.restyle();
  },
  cameras({ cameras }) {
    state.cameras = cameras;
    // The camera that is shown is expected back when its node is restarted.
    if (!state.camera && cameras.length) choose(cameras[0]);
    else watch();
    showCameras();
    showTexts();
  },
  status({ status, camera }) {
    if (camera === state.camera) state.status = status;
    showTexts();
  },
  problem({ problem }) {
    state.problem = problem;
    showTexts();
  },
  error({ message }) {
    note(message);
  },
};

const list = new ObjectList(get('objects'), get('none'), (id) => painter.css(id), {
  select,
  rename: (id) => requests.rename(id),
  remove: (id) => requests.remove(id),
});

const gestures = new Gestures(canvas, {
  begin: () => {
    state.held = true;
    state.cross = null;
  },
  end: () => pictures.release(),
  tap: (place) => requests.point('tap', place),
  hold: (place) => {
    navigator.vibrate?.(30);
    requests.point('hold', place);
  },
  boxing: (p, q) => {
    state.box = p && boxOf(p, q);
    redraw();
  },
  box: (p, q) => requests.sendBox(boxOf(p, q), q),
  pan: (dx, dy) => {
    view.panBy(dx, dy);
    redraw();
  },
  zoom: (place, factor) => zoom(factor, place),
});

const connection = new Connection({
  message: (fields) => receivers[fields.type]?.(fields),
  frame: (buffer) => pictures.take(buffer),
  state: (text) => {
    state.connection = text;
    showTexts();
  },
});
const pictures = new Pictures(connection, showObjects);
const requests = new Requests(connection, select);

bindKeys({
  moveCross(dx, dy) {
    if (!state.frame) return;
    const centre = view.clamp(view.toImage(canvas.clientWidth / 2, canvas.clientHeight / 2));
    const from = state.cross ?? centre;
    const to = view.clamp({ x: from.x + dx / view.scale, y: from.y + dy / view.scale });
    state.cross = to;
    if (state.corner) state.box = corners(state.corner, to);
    redraw();
  },
  mark(kind) {
    if (!state.cross) return;
    requests.prompt({ kind, ...state.cross }, view.toScreen(state.cross.x, state.cross.y));
  },
  corner() {
    if (!state.cross) return;
    if (!state.corner) {
      state.corner = state.cross;
      return;
    }
    const box = corners(state.corner, state.cross);
    Object.assign(state, { corner: null, box: null });
    requests.sendBox(box, view.toScreen(state.cross.x, state.cross.y));
  },
  cancel() {
    gestures.cancel();
    Object.assign(state, { selected: 0, corner: null, box: null, cross: null });
    get('note').hidden = true;
    list.show(state.objects, 0);
    showTexts();
    redraw();
  },
  select: (number) => {
    const item = state.objects[number - 1];
    if (item) select(item.id);
  },
  remove: () => state.selected && requests.remove(state.selected),
  rename: () => state.selected && requests.rename(state.selected),
  pause: () => setPaused(!state.paused),
  undo: () => requests.undo(),
  zoom,
  fit,
});

function corners(a, b) {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}

get('pause').addEventListener('click', () => setPaused(!state.paused));
get('undo').addEventListener('click', () => requests.undo());
get('deselect').addEventListener('click', () => select(state.selected));
get('remove-all').addEventListener('click', () => requests.removeAll());
get('help').addEventListener('click', () => dialog('help-text'));
get('zoom-in').addEventListener('click', () => zoom(Math.SQRT2));
get('zoom-out').addEventListener('click', () => zoom(Math.SQRT1_2));
get('zoom-fit').addEventListener('click', fit);
for (const id of ['opacity', 'outlines', 'names']) {
  get(id).addEventListener('input', () => {
    painter.opacity = get('opacity').value / 100;
    painter.outlines = get('outlines').checked;
    painter.names = get('names').checked;
    painter.restyle();
    redraw();
  });
}
// Not a submit button: Enter in a field presses the first of those.
for (const button of document.querySelectorAll('dialog .cancel')) {
  button.addEventListener('click', () => button.closest('dialog').close(''));
}

// A button that was clicked does not keep the keyboard: Space pauses again.
document.addEventListener('click', ({ detail, target }) => {
  const isButton = target instanceof Element && target.closest('button');
  if (detail && isButton && !document.querySelector('dialog[open]')) canvas.focus();
});
document.addEventListener('visibilitychange', watch);
new ResizeObserver(redraw).observe(canvas);
showTexts();
