// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// What the page shows, and the canvas it is drawn on.

import { Painter } from './paint.js';
import { View } from './view.js';

export const get = (id) => document.getElementById(id);
export const canvas = get('view');
export const view = new View();
export const painter = new Painter(canvas);

export const state = {
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

let drawing = false;

export function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    view.setStage(canvas.clientWidth, canvas.clientHeight);
    painter.draw(state);
  });
}
