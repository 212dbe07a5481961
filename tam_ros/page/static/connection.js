// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The WebSocket: reconnects, answers requests, hands frames on.

const WAIT_MS = [500, 1000, 2000, 5000]; // between attempts to connect
const ANSWER_MS = 15000;

export class Connection {
  // `on` has: message(fields), frame(buffer), state(text) with an empty text when it is connected.
  constructor(on) {
    this.on = on;
    this.attempts = 0;
    this.requests = new Map();
    this.newest = 0;
    this.connect();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/socket`);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => {
      this.attempts = 0;
      this.on.state('');
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') this.receive(JSON.parse(data));
      else this.on.frame(data);
    };
    socket.onclose = (event) => this.closed(event);
  }

  receive(fields) {
    if (fields.type === 'answer') {
      this.settle(fields.request, fields);
    } else {
      this.on.message(fields);
    }
  }

  settle(number, answer) {
    this.requests.get(number)?.(answer);
    this.requests.delete(number);
  }

  async closed(event) {
    for (const number of [...this.requests.keys()]) {
      this.settle(number, { success: false, message: 'The connection was lost.' });
    }
    const wait = WAIT_MS[Math.min(this.attempts, WAIT_MS.length - 1)];
    this.attempts += 1;
    const reason = event.reason ? ` (${event.reason})` : '';
    this.on.state(`No connection to the robot${reason}. Trying again.`);
    const problem = await this.whyRefused();
    if (problem) this.on.state(problem);
    setTimeout(() => this.connect(), wait);
  }

  // A WebSocket does not say why it was refused; another request does.
  async whyRefused() {
    try {
      const answer = await fetch('/ready', { cache: 'no-store' });
      if (answer.status === 401) return 'The token has changed: open the new address.';
      if (answer.status === 503) return `${await answer.text()} Trying again.`;
    } catch {
      // the server does not run
    }
    return '';
  }

  send(fields) {
    if (this.isOpen) this.socket.send(JSON.stringify(fields));
  }

  // Send a request; the promise is that of its answer: {success, message, object}.
  request(fields) {
    if (!this.isOpen) {
      return Promise.resolve({ success: false, message: 'There is no connection to the robot.' });
    }
    this.newest += 1;
    const number = this.newest;
    return new Promise((resolve) => {
      this.requests.set(number, resolve);
      setTimeout(() => {
        this.settle(number, { success: false, message: 'The robot has not answered.' });
      }, ANSWER_MS);
      this.send({ ...fields, request: number });
    });
  }
}
