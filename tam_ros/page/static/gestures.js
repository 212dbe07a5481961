// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Pointers and the wheel become gestures: tap, hold, box, pinch. Positions: CSS pixels from the upper
// left corner of the element.

const HOLD_MS = 550;
const MOVED = { touch: 10, pen: 8, mouse: 5 }; // pixels that count as movement
const LINE = 16; // pixels of a line, for wheels that count lines

export class Gestures {
  // `on` has: begin(), end(), tap(p), hold(p), boxing(p, q), box(p, q), pan(dx, dy), zoom(p, factor).
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.pointers = new Map();
    this.kind = null; // of the gesture: null, 'press', 'box', 'pan', 'pinch', 'done'
    element.addEventListener('pointerdown', (event) => this.down(event));
    element.addEventListener('pointermove', (event) => this.move(event));
    element.addEventListener('pointerup', (event) => this.up(event, true));
    element.addEventListener('pointercancel', (event) => this.up(event, false));
    element.addEventListener('contextmenu', (event) => event.preventDefault());
    element.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
  }

  // Give up the present gesture, as for Esc.
  cancel() {
    clearTimeout(this.timer);
    if (this.kind) this.kind = 'done';
  }

  place(event) {
    const edge = this.element.getBoundingClientRect();
    return { x: event.clientX - edge.left, y: event.clientY - edge.top };
  }

  down(event) {
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    clearTimeout(this.timer);
    if (this.pointers.size > 1) {
      this.kind = 'pinch';
      this.on.boxing(null, null);
      return;
    }
    this.start = this.place(event);
    this.button = event.button;
    this.on.begin();
    if (event.button === 1 || (event.shiftKey && event.button === 0)) {
      this.kind = 'pan';
    } else {
      this.kind = 'press';
      if (event.pointerType !== 'mouse') {
        this.timer = setTimeout(() => {
          if (this.kind !== 'press') return;
          this.kind = 'done';
          this.on.hold(this.start);
        }, HOLD_MS);
      }
    }
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    if (this.kind === 'pinch') {
      this.pinch(event.pointerId, before, now);
    } else if (this.kind === 'pan') {
      this.on.pan(now.x - before.x, now.y - before.y);
    } else if (this.kind === 'press' && this.button === 0) {
      const far = Math.hypot(now.x - this.start.x, now.y - this.start.y);
      if (far > (MOVED[event.pointerType] ?? MOVED.mouse)) {
        clearTimeout(this.timer);
        this.kind = 'box';
      }
    }
    this.pointers.set(event.pointerId, now);
    if (this.kind === 'box') this.on.boxing(this.start, now);
  }

  pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const apart = (place) => Math.hypot(place.x - other.x, place.y - other.y);
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    this.on.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    if (apart(before) > 1) this.on.zoom(middle, apart(now) / apart(before));
  }

  up(event, finished) {
    if (!this.pointers.delete(event.pointerId)) return;
    clearTimeout(this.timer);
    if (this.pointers.size) return; // the last finger ends the gesture
    const kind = this.kind;
    this.kind = null;
    this.on.boxing(null, null);
    if (finished && kind === 'box') this.on.box(this.start, this.place(event));
    if (finished && kind === 'press') {
      if (this.button === 2) this.on.hold(this.start);
      else this.on.tap(this.start);
    }
    this.on.end();
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1;
    const factor = Math.exp((-event.deltaY * lines) / 500);
    this.on.zoom(this.place(event), Math.min(4, Math.max(0.25, factor)));
  }
}
