// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Where the picture is on the screen. Pixels of the image: (0, 0) is the centre of the upper left
// one. Positions on the screen: CSS pixels from the upper left corner of the stage.

const SMALLEST = 0.5;
const LARGEST = 16;

export class View {
  constructor() {
    this.zoom = 1;
    this.picture = { width: 0, height: 0 };
    this.stage = { width: 1, height: 1 };
    this.centre = { x: 0, y: 0 }; // on the image, from its corner
  }

  get scale() {
    const { width, height } = this.picture;
    if (!width || !height) return 1;
    return this.zoom * Math.min(this.stage.width / width, this.stage.height / height);
  }

  setPicture(width, height) {
    if (width === this.picture.width && height === this.picture.height) return;
    this.picture = { width, height };
    this.fit();
  }

  setStage(width, height) {
    this.stage = { width: Math.max(1, width), height: Math.max(1, height) };
  }

  fit() {
    this.zoom = 1;
    this.centre = { x: this.picture.width / 2, y: this.picture.height / 2 };
  }

  toImage(x, y) {
    return {
      x: (x - this.stage.width / 2) / this.scale + this.centre.x - 0.5,
      y: (y - this.stage.height / 2) / this.scale + this.centre.y - 0.5,
    };
  }

  toScreen(x, y) {
    return {
      x: (x + 0.5 - this.centre.x) * this.scale + this.stage.width / 2,
      y: (y + 0.5 - this.centre.y) * this.scale + this.stage.height / 2,
    };
  }

  // Zoom so that the place under (x, y) stays there.
  zoomAt(x, y, factor) {
    const place = this.toImage(x, y);
    this.zoom = Math.min(LARGEST, Math.max(SMALLEST, this.zoom * factor));
    const now = this.toScreen(place.x, place.y);
    this.panBy(x - now.x, y - now.y);
  }

  panBy(dx, dy) {
    const { width, height } = this.picture;
    this.centre = {
      x: Math.min(width, Math.max(0, this.centre.x - dx / this.scale)),
      y: Math.min(height, Math.max(0, this.centre.y - dy / this.scale)),
    };
  }

  // Whether a place of the image is on it.
  contains({ x, y }) {
    return x >= -0.5 && y >= -0.5 && x < this.picture.width - 0.5 && y < this.picture.height - 0.5;
  }

  // The nearest place that is on the image.
  clamp({ x, y }) {
    return {
      x: Math.min(this.picture.width - 1, Math.max(0, x)),
      y: Math.min(this.picture.height - 1, Math.max(0, y)),
    };
  }
}
