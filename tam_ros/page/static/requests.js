// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// What the operator asks for, as requests to the server.

import { meaning } from './meaning.js';
import { get, redraw, state, view } from './state.js';
import { note } from './texts.js';

const MAX_MARKS = 20;

export class Requests {
  // `select` is called with the id of an object that was tapped.
  constructor(connection, select) {
    Object.assign(this, { connection, select });
  }

  async change(fields, place) {
    const answer = await this.connection.request({ ...fields, camera: state.camera });
    if (!answer.success) note(answer.message || 'The request was refused.', place);
    return answer;
  }

  // gesture: as in meaning.js; place: where to say that it was refused, on the screen.
  async prompt(gesture, place) {
    if (!state.frame) return;
    const under = gesture.kind === 'box' ? 0 : state.frame.objectAt(gesture.x, gesture.y);
    const known = state.objects.some((item) => item.id === under) ? under : 0;
    const what = meaning(gesture, known, state.selected);
    if (what.select) {
      this.select(what.select);
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
    const answer = await this.change({ type: 'prompt', stamp, object, points, box: box ?? null }, place);
    if (!answer.success) {
      state.marks = state.marks.filter((item) => item !== mark);
      redraw();
    } else if (state.paused) {
      note(`Object ${answer.object}: its mask shows when the picture continues.`, place);
    }
  }

  point(kind, place) {
    const { x, y } = view.toImage(place.x, place.y);
    if (view.contains({ x, y })) this.prompt({ kind, x, y }, place);
  }

  sendBox(box, place) {
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.prompt({ kind: 'box', box }, place);
  }

  async undo() {
    await this.change({ type: 'undo' });
  }

  async remove(id) {
    await this.change({ type: 'remove', object: id });
  }

  async rename(id) {
    const item = state.objects.find((one) => one.id === id);
    if (!item) return;
    const input = get('rename-name');
    input.value = item.name;
    const confirmed = dialog('rename');
    input.select();
    const name = (await confirmed) ? input.value.trim() : '';
    if (name && name !== item.name) await this.change({ type: 'rename', object: id, name });
  }

  async removeAll() {
    if (await dialog('confirm')) await this.change({ type: 'remove_all' });
  }
}

// The box between two places on the screen, on the image.
export function boxOf(p, q) {
  const a = view.clamp(view.toImage(p.x, p.y));
  const b = view.clamp(view.toImage(q.x, q.y));
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}

// Resolves to whether the dialog was confirmed.
export function dialog(id) {
  const element = get(id);
  return new Promise((resolve) => {
    element.returnValue = '';
    element.addEventListener('close', () => resolve(element.returnValue === 'yes'), { once: true });
    element.showModal();
  });
}
