// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Draws the picture, the masks and the marks.

const MARK_MS = 1500; // marks are shown for so long, and as long as their image is shown

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.masks = document.createElement('canvas');
    this.masksOf = null;
    this.colours = [[255, 255, 255]];
    this.opacity = 0.4;
    this.outlines = true;
    this.names = true;
  }

  colour(id) {
    return this.colours[(id - 1) % this.colours.length];
  }

  css(id) {
    return `rgb(${this.colour(id).join(' ')})`;
  }

  // Make the canvas as large as its element is on the screen.
  resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  restyle() {
    this.masksOf = null;
  }

  // state: view, frame, selected, marks, box, cross.
  draw(state) {
    this.resize();
    const context = this.context;
    const ratio = this.canvas.width / Math.max(1, this.canvas.clientWidth);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const { view, frame } = state;
    if (!frame) return;
    const corner = view.toScreen(-0.5, -0.5);
    const width = frame.width * view.scale;
    const height = frame.height * view.scale;
    context.imageSmoothingEnabled = view.scale * ratio < 3; // large pixels have edges
    context.drawImage(frame.bitmap, corner.x, corner.y, width, height);
    if (frame.labels) {
      if (this.masksOf !== frame) this.paintMasks(frame);
      context.imageSmoothingEnabled = false;
      context.drawImage(this.masks, corner.x, corner.y, width, height);
    }
    for (const item of frame.header.objects) this.drawObject(item, state);
    this.drawMarks(state);
  }

  paintMasks(frame) {
    const { width, height, ids } = frame.labels;
    this.masks.width = width;
    this.masks.height = height;
    const context = this.masks.getContext('2d');
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const inside = new Map();
    const edge = new Map();
    const packed = (id, alpha) => {
      const [red, green, blue] = this.colour(id);
      return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    };
    const alpha = Math.round(this.opacity * 255);
    for (let row = 0, i = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1, i += 1) {
        const id = ids[i];
        if (!id) continue;
        if (!inside.has(id)) {
          inside.set(id, packed(id, alpha));
          edge.set(id, packed(id, 255));
        }
        const isEdge =
          this.outlines &&
          ((column > 0 && ids[i - 1] !== id) ||
            (column < width - 1 && ids[i + 1] !== id) ||
            (row > 0 && ids[i - width] !== id) ||
            (row < height - 1 && ids[i + width] !== id));
        pixels[i] = isEdge ? edge.get(id) : inside.get(id);
      }
    }
    context.putImageData(image, 0, 0);
    this.masksOf = frame;
  }

  drawObject(item, { view, selected }) {
    const context = this.context;
    if (item.id === selected && item.box) {
      const [x0, y0, x1, y1] = item.box;
      const begin = view.toScreen(x0 - 0.5, y0 - 0.5);
      context.setLineDash([6, 4]);
      context.lineWidth = 2;
      context.strokeStyle = '#fff';
      context.strokeRect(begin.x, begin.y, (x1 - x0) * view.scale, (y1 - y0) * view.scale);
      context.setLineDash([]);
    }
    if (!this.names || !item.centroid) return;
    const place = view.toScreen(...item.centroid);
    const text = title(item);
    context.font = '600 14px system-ui, sans-serif';
    const half = context.measureText(text).width / 2 + 6;
    context.fillStyle = 'rgb(8 12 16 / 80%)';
    context.beginPath();
    context.roundRect(place.x - half, place.y - 11, 2 * half, 22, 6);
    context.fill();
    context.fillStyle = this.css(item.id);
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText(text, place.x, place.y);
  }

  drawMarks({ view, frame, marks, box, cross }) {
    const now = performance.now();
    for (const mark of marks) {
      if (mark.stamp !== frame.stamp && now - mark.since > MARK_MS) continue;
      for (const [x, y, label] of mark.points) this.drawPoint(view.toScreen(x, y), label);
      if (mark.box) this.drawBox(view, mark.box);
    }
    if (box) this.drawBox(view, box);
    if (cross) this.drawCross(view.toScreen(cross.x, cross.y));
  }

  drawPoint({ x, y }, label) {
    const context = this.context;
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.fillStyle = label ? '#0a7d2c' : '#c3002f';
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = '#fff';
    context.stroke();
    context.beginPath();
    context.moveTo(x - 4, y);
    context.lineTo(x + 4, y);
    if (label) {
      context.moveTo(x, y - 4);
      context.lineTo(x, y + 4);
    }
    context.stroke();
  }

  drawBox(view, [x0, y0, x1, y1]) {
    const begin = view.toScreen(x0, y0);
    const end = view.toScreen(x1, y1);
    for (const [colour, width] of [
      ['#000', 4],
      ['#fff', 2],
    ]) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = width;
      this.context.strokeRect(begin.x, begin.y, end.x - begin.x, end.y - begin.y);
    }
  }

  drawCross({ x, y }) {
    const context = this.context;
    for (const [colour, width] of [
      ['#000', 5],
      ['#fff', 2],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      for (const [dx, dy] of [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ]) {
        context.moveTo(x + 5 * dx, y + 5 * dy);
        context.lineTo(x + 18 * dx, y + 18 * dy);
      }
      context.stroke();
    }
  }
}

export function title(item) {
  return item.name ? `${item.id} ${item.name}` : `${item.id}`;
}
