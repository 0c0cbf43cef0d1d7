"use strict";
// Sounds are fully decoded and play in parallel, all but one of them muted, so that switching keeps the position.
const FADE_S = 0.006, SHORTEST_LOOP_S = 0.2;

class Player {
  constructor(rate) {
    this.context = new AudioContext({ sampleRate: rate });
    this.stop();
  }

  async load(names) {
    this.stop();
    this.names = names;
    this.buffers = new Map(await Promise.all(names.map(async (name) => {
      const reply = await fetch(`stimuli/${name}.wav`);
      if (!reply.ok) throw new Error((await reply.json()).error);
      return [name, await this.context.decodeAudioData(await reply.arrayBuffer())];
    })));
    this.duration = Math.min(...[...this.buffers.values()].map((buffer) => buffer.duration));
    this.loop = [0, this.duration];
    this.at = 0;
    this.active = names[0];
  }

  stop() {
    for (const { source, gain } of this.running?.values() ?? []) {
      this.ramp(gain, 0);
      source.onended = null;
      source.stop(this.context.currentTime + 2 * FADE_S);
    }
    this.running = null;
  }

  ramp(gain, value) {
    const now = this.context.currentTime;
    gain.gain.cancelScheduledValues(now);
    gain.gain.setValueAtTime(gain.gain.value, now);
    gain.gain.linearRampToValueAtTime(value, now + FADE_S);
  }

  get playing() { return this.running !== null; }

  get position() {
    if (!this.playing) return this.at;
    const [from, to] = this.loop;
    const place = this.at + Math.max(0, this.context.currentTime - this.since);
    return !this.looped || place < to ? Math.min(place, this.duration) : from + (place - from) % (to - from);
  }

  async play(looped) {
    this.stop();
    if (this.context.state !== "running") await this.context.resume();
    this.stop();  // play() may have been called again while the device was waking up
    const [from, to] = this.loop;
    if (this.at >= to - 0.01 || (looped && this.at < from)) this.at = from;
    this.looped = looped;
    this.since = this.context.currentTime + 0.02;
    this.running = new Map(this.names.map((name) => {
      const loop = { loop: looped, loopStart: from, loopEnd: to };
      const source = new AudioBufferSourceNode(this.context, { buffer: this.buffers.get(name), ...loop });
      const gain = new GainNode(this.context, { gain: name === this.active ? 1 : 0 });
      source.connect(gain).connect(this.context.destination);
      source.start(this.since, this.at);
      return [name, { source, gain }];
    }));
  }

  pause() { this.at = this.position; this.stop(); }

  async seek(place) {
    const going = this.playing;
    this.pause();
    this.at = Math.min(Math.max(place, 0), this.duration);
    if (going) await this.play(this.looped);
  }

  async setLoop(from, to) {
    if (to - from < Math.min(SHORTEST_LOOP_S, this.duration)) return;
    const place = this.position;
    const going = this.playing;
    this.pause();
    this.loop = [from, to];
    this.at = place >= from && place < to ? place : from;
    if (going) await this.play(true);
  }

  choose(name) {
    this.active = name;
    for (const [other, { gain }] of this.running ?? []) this.ramp(gain, other === name ? 1 : 0);
  }
}
