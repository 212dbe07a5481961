// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Frames as they arrive: decoded, acknowledged when they are drawn, held while a finger is down.

import { Frame, unpack } from './frame.js';
import { painter, redraw, state, view } from './state.js';
import { showTexts } from './texts.js';

export class Pictures {
  // `showObjects` is called with the objects of each frame.
  constructor(connection, showObjects) {
    Object.assign(this, { connection, showObjects });
  }

  acknowledge(frame) {
    this.connection.send({ type: 'ack', frame });
  }

  async take(buffer) {
    const parts = unpack(buffer);
    const { header } = parts;
    if (header.camera !== state.camera) {
      this.acknowledge(header.frame);
      return;
    }
    this.showObjects(header.objects);
    if (!parts.picture.byteLength) {
      this.acknowledge(header.frame);
      return;
    }
    let frame = null;
    try {
      frame = await Frame.decode(parts);
    } catch (error) {
      state.problem = `A picture cannot be drawn: ${error.message}`;
      showTexts();
      this.acknowledge(header.frame);
      return;
    }
    if (state.held) {
      state.waiting?.close();
      state.waiting = frame; // not acknowledged: no more arrive
      return;
    }
    this.present(frame);
  }

  present(frame) {
    this.acknowledge(frame.header.frame);
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

  release() {
    state.held = false;
    const frame = state.waiting;
    state.waiting = null;
    if (frame) this.present(frame);
  }
}
