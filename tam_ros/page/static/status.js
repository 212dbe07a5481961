// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The diagnostics of the tracking node in words.

const number = (text, digits = 0) => Number(text).toFixed(digits);

// One line of numbers.
export function counts(status) {
  const input = status?.input ?? {};
  const tracking = status?.tracking ?? {};
  const parts = [];
  if (tracking.rate_hz) parts.push(`${number(tracking.rate_hz, 1)} of ${number(input.rate_hz, 1)} Hz tracked`);
  if (tracking.age_ms_p50) parts.push(`${number(tracking.age_ms_p50)} ms old`);
  if (input.dropped) {
    parts.push(`${input.dropped} dropped (${number(100 * input.dropped_share)} %)`);
  }
  return parts.join(' · ');
}

// What is wrong, in the words of the node; empty: nothing.
export function banner(status, connection, problem) {
  if (connection) return connection;
  const wrong = Object.values(status ?? {}).filter((entry) => entry.level !== 'ok');
  return [problem, ...wrong.map((entry) => entry.message)].filter(Boolean).join(' · ');
}
