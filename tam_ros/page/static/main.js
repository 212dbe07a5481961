// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Puts the parts of the page together.

import { Connection } from './connection.js';
import { Frame, unpack } from './frame.js';
import { Gestures } from './gestures.js';
import { bindKeys } from './keys.js';
import { meaning } from './meaning.js';
import { ObjectList } from './objects.js';
import { Painter, title } from './paint.js';
import { banner, counts } from './status.js';
import { View } from './view.js';

const NOTE_MS = 6000;
const MAX_MARKS = 20;
const START = 'ros2 launch tam_ros track.launch.py image:=/camera/image_raw';

const get = (id) => document.getElementById(id);
const canvas = get('view');
const view = new View();
const painter = new Painter(canvas);

const state = {
  view,
  frame: null, // the one that is shown
  objects: [], // of the newest frame, also while the picture stands still
  selected: 0,
  marks: [], // {stamp, points, box, since}
  box: null, // that is being drawn
  cross: null, // of the keyboard
  corner: null, // first corner of a box of the keyboard
  camera: '',
  cameras: [],
  paused: false,
  held: false, // a finger is down: the picture stands still below it
  waiting: null, // a frame that has arrived meanwhile
  connection: 'Connecting',
  mayPrompt: true,
  status: null,
  problem: '',
};

// --- drawing ---

let drawing = false;

function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    view.setStage(canvas.clientWidth, canvas.clientHeight);
    painter.draw(state);
  });
}

function showTexts() {
  const text = banner(state.status, state.connection, state.problem);
  get('banner').textContent = text;
  get('banner').hidden = !text;
  get('counts').textContent = counts(state.status);
  let empty = '';
  if (state.connection) empty = state.connection;
  else if (!state.cameras.length) empty = `No tracking node is on the graph. Start one: ${START}`;
  else if (!state.frame) empty = `Waiting for images of ${state.camera}`;
  get('empty').textContent = empty;
  get('empty').hidden = !empty;
  const chosen = state.objects.find((item) => item.id === state.selected);
  get('deselect').disabled = !chosen;
  let hint = 'Tap an object to track it, or drag a box around it. Hold: not this.';
  if (!state.mayPrompt) hint = 'This page only shows.';
  else if (state.paused) hint = 'Paused: marks belong to this picture. They show when it continues.';
  else if (chosen) hint = `Refining ${title(chosen)}. Tap: this too. Hold: not this. Drag: a box.`;
  if (get('hint').textContent !== hint) get('hint').textContent = hint;
}

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

let noteTimer = 0;

// Say something where the finger was; without a place, in the middle.
function note(text, place = null) {
  const element = get('note');
  element.textContent = text;
  element.hidden = false;
  const stage = get('stage').getBoundingClientRect();
  const at = place ?? { x: stage.width / 2, y: stage.height / 2 };
  const size = element.getBoundingClientRect();
  const within = (value, length, room) => Math.max(4, Math.min(value, room - length - 4));
  element.style.left = `${within(at.x - size.width / 2, size.width, stage.width)}px`;
  element.style.top = `${within(at.y + 14, size.height, stage.height)}px`;
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => (element.hidden = true), NOTE_MS);
}

// --- frames ---

const acknowledge = (frame) => connection.send({ type: 'ack', frame });

async function take(buffer) {
  const parts = unpack(buffer);
  const { header } = parts;
  if (header.camera !== state.camera) {
    acknowledge(header.frame);
    return;
  }
  showObjects(header.objects);
  if (!parts.picture.byteLength) {
    acknowledge(header.frame);
    return;
  }
  let frame = null;
  try {
    frame = await Frame.decode(parts);
  } catch (error) {
    state.problem = `A picture cannot be drawn: ${error.message}`;
    showTexts();
    acknowledge(header.frame);
    return;
  }
  if (state.held) {
    state.waiting?.close();
    state.waiting = frame; // not acknowledged: no more arrive
    return;
  }
  present(frame);
}

function present(frame) {
  acknowledge(frame.header.frame);
  if (state.paused || frame.header.camera !== state.camera) {
    frame.close();
    return;
  }
  state.frame?.close();
  state.frame = frame;
  state.problem = '';
  view.setPicture(frame.width, frame.height);
  painter.restyle();
  showTexts();
  redraw();
}

function release() {
  state.held = false;
  const frame = state.waiting;
  state.waiting = null;
  if (frame) present(frame);
}

// --- requests ---

const ask = (fields) => connection.request({ ...fields, camera: state.camera });

async function change(fields, place) {
  const answer = await ask(fields);
  if (!answer.success) note(answer.message || 'The request was refused.', place);
  return answer;
}

// gesture: as in meaning.js; place: where to say that it was refused, on the screen.
async function prompt(gesture, place) {
  if (!state.frame) return;
  const under = gesture.kind === 'box' ? 0 : state.frame.objectAt(gesture.x, gesture.y);
  const known = state.objects.some((item) => item.id === under) ? under : 0;
  const what = meaning(gesture, known, state.selected);
  if (what.select) {
    select(what.select);
    return;
  }
  if (!state.mayPrompt) {
    note('This page only shows.', place);
    return;
  }
  if (what.refuse) {
    note(what.refuse, place);
    return;
  }
  const { object, points, box } = what.prompt;
  const { stamp } = state.frame;
  const mark = { stamp, points, box, since: performance.now() };
  state.marks = [...state.marks.slice(1 - MAX_MARKS), mark];
  redraw();
  setTimeout(redraw, 1600); // the mark disappears
  const answer = await change({ type: 'prompt', stamp, object, points, box: box ?? null }, place);
  if (!answer.success) {
    state.marks = state.marks.filter((item) => item !== mark);
    redraw();
  } else if (state.paused) {
    note(`Object ${answer.object}: its mask shows when the picture continues.`, place);
  }
}

function point(kind, place) {
  const { x, y } = view.toImage(place.x, place.y);
  if (view.contains({ x, y })) prompt({ kind, x, y }, place);
}

function boxOf(p, q) {
  const a = view.clamp(view.toImage(p.x, p.y));
  const b = view.clamp(view.toImage(q.x, q.y));
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}

function sendBox(box, place) {
  if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) prompt({ kind: 'box', box }, place);
}

async function undo() {
  await change({ type: 'undo' });
}

async function remove(id) {
  await change({ type: 'remove', object: id });
}

// Resolves to whether the dialog was confirmed.
function dialog(id) {
  const element = get(id);
  return new Promise((resolve) => {
    element.returnValue = '';
    element.addEventListener('close', () => resolve(element.returnValue === 'yes'), { once: true });
    element.showModal();
  });
}

async function rename(id) {
  const item = state.objects.find((one) => one.id === id);
  if (!item) return;
  const input = get('rename-name');
  input.value = item.name;
  const confirmed = dialog('rename');
  input.select();
  const name = (await confirmed) ? input.value.trim() : '';
  if (name && name !== item.name) await change({ type: 'rename', object: id, name });
}

async function removeAll() {
  if (await dialog('confirm')) await change({ type: 'remove_all' });
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
  get('cameras').hidden = buttons.length < 2;
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
  rename,
  remove,
});

const gestures = new Gestures(canvas, {
  begin: () => {
    state.held = true;
    state.cross = null;
  },
  end: release,
  tap: (place) => point('tap', place),
  hold: (place) => {
    navigator.vibrate?.(30);
    point('hold', place);
  },
  boxing: (p, q) => {
    state.box = p && boxOf(p, q);
    redraw();
  },
  box: (p, q) => sendBox(boxOf(p, q), q),
  pan: (dx, dy) => {
    view.panBy(dx, dy);
    redraw();
  },
  zoom: (place, factor) => zoom(factor, place),
});

const connection = new Connection({
  message: (fields) => receivers[fields.type]?.(fields),
  frame: take,
  state: (text) => {
    state.connection = text;
    showTexts();
  },
});

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
    prompt({ kind, ...state.cross }, view.toScreen(state.cross.x, state.cross.y));
  },
  corner() {
    if (!state.cross) return;
    if (!state.corner) {
      state.corner = state.cross;
      return;
    }
    const box = corners(state.corner, state.cross);
    Object.assign(state, { corner: null, box: null });
    sendBox(box, view.toScreen(state.cross.x, state.cross.y));
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
  remove: () => state.selected && remove(state.selected),
  rename: () => state.selected && rename(state.selected),
  pause: () => setPaused(!state.paused),
  undo,
  zoom,
  fit,
});

function corners(a, b) {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}

get('pause').addEventListener('click', () => setPaused(!state.paused));
get('undo').addEventListener('click', undo);
get('deselect').addEventListener('click', () => select(state.selected));
get('remove-all').addEventListener('click', removeAll);
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
