// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The texts around the picture, and the note where the finger was.

import { title } from './paint.js';
import { get, state } from './state.js';
import { banner, counts } from './status.js';

const NOTE_MS = 6000;
const START = 'ros2 launch tam_ros track.launch.py image:=/camera/image_raw';

export function showTexts() {
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

let noteTimer = 0;

// Say something where the finger was; without a place, in the middle.
export function note(text, place = null) {
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
