// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The binary message of a frame: length of the header (4 bytes), header (JSON), picture, labels.

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const begin = 4 + length;
  const end = begin + header.picture_bytes;
  return { header, picture: buffer.slice(begin, end), labels: buffer.slice(end) };
}

// One image: `bitmap`; `width` and `height` in pixels of prompts; `ids`, one for each pixel of the
// label image, which may be smaller.
export class Frame {
  static async decode({ header, picture, labels }) {
    const type = new Uint8Array(picture, 0, 1)[0] === 0xff ? 'image/jpeg' : 'image/png';
    const bitmap = await createImageBitmap(new Blob([picture], { type }));
    const frame = new Frame();
    frame.header = header;
    frame.stamp = header.stamp;
    frame.bitmap = bitmap;
    frame.width = header.width || bitmap.width;
    frame.height = header.height || bitmap.height;
    frame.labels = labels.byteLength ? await decodeLabels(labels, header.wide) : null;
    return frame;
  }

  // Id of the object at a place of the image; 0: none.
  objectAt(x, y) {
    if (!this.labels) return 0;
    const { width, height, ids } = this.labels;
    const column = Math.floor(((x + 0.5) * width) / this.width);
    const row = Math.floor(((y + 0.5) * height) / this.height);
    if (column < 0 || row < 0 || column >= width || row >= height) return 0;
    return ids[row * width + column];
  }

  close() {
    this.bitmap.close();
  }
}

let canvas = null;

async function decodeLabels(png, wide) {
  // Values, not colours: nothing may convert them.
  const options = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
  const bitmap = await createImageBitmap(new Blob([png], { type: 'image/png' }), options);
  const { width, height } = bitmap;
  canvas ??= document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const ids = new Uint16Array(width * height);
  for (let i = 0, j = 0; i < ids.length; i += 1, j += 4) {
    ids[i] = wide ? pixels[j] | (pixels[j + 1] << 8) : pixels[j];
  }
  return { width, height, ids };
}
