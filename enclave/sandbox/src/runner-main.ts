import { closeSync, readSync, writeSync } from 'node:fs'
import process from 'node:process'
import { canonicalJson, decodeHex } from '@cella/bytes'
import { execute } from './execute.ts'
import {
  type EndReport,
  frameBytesMax,
  frameHeader,
  frameHeaderLength,
  frameType,
  type JobHeader,
  parseFrameHeader,
  type ReadyReport,
} from './protocol.ts'

/*
 * The runner: one process, one program, no key. It says that it is ready, waits for a job, runs it, answers, and is
 * gone. It talks over file descriptors 3 and 4 and has no other way to anything.
 */
const inward = 3
const outward = 4
const jobBytesMax = 1024 * 1024
const scopes = ['fs.read', 'fs.write', 'child', 'worker', 'net', 'addon', 'wasi', 'ffi', 'inspector']

function readFully(target: Uint8Array): void {
  let filled = 0
  while (filled < target.length) {
    const count = readSync(inward, target, filled, target.length - filled, null)
    // The worker went away: nobody waits for an answer.
    if (count === 0) process.exit(1)
    filled += count
  }
}

function writeFully(bytes: Uint8Array): void {
  let written = 0
  while (written < bytes.length) written += writeSync(outward, bytes, written)
}

function send(type: number, payload: Uint8Array): void {
  writeFully(frameHeader(type, payload.length))
  writeFully(payload)
}

function sendPieces(type: number, prefix: Uint8Array, bytes: Uint8Array): void {
  for (let start = 0; start < bytes.length; start += frameBytesMax) {
    const piece = bytes.subarray(start, start + frameBytesMax)
    writeFully(frameHeader(type, prefix.length + piece.length))
    writeFully(prefix)
    writeFully(piece)
  }
}

function receive(type: number, lengthMax: number, staging?: Uint8Array): Uint8Array {
  const header = new Uint8Array(frameHeaderLength)
  readFully(header)
  const frame = parseFrameHeader(header, lengthMax)
  if (frame.type !== type) throw new Error(`expected frame ${type}, got ${frame.type}`)
  const payload = staging?.subarray(0, frame.length) ?? new Uint8Array(frame.length)
  readFully(payload)
  return payload
}

function json(value: ReadyReport | EndReport): Uint8Array {
  return new TextEncoder().encode(canonicalJson(value))
}

/** What the permission model left open. Asked before any program is here, so the answer is this code's own. */
function granted(): string[] {
  const { permission } = process
  return permission === undefined ? ['everything'] : scopes.filter((scope) => permission.has(scope))
}

/**
 * Runs a program of its own before it says that it is ready: V8 has then compiled what every run needs. OpenSSL is not
 * started for it: few programs draw random bytes. The program asks for its arguments:
 * (drop (call $args_sizes_get (i32.const 0) (i32.const 8))).
 */
function warmUp(): void {
  const module =
    '0061736d01000000010a0260027f7f017f60000002290116776173695f736e617073686f745f70726576696577310e617267735f73697a65735f6765740000030201010503010001071302066d656d6f72790200065f737461727400010a0b0109004100410810001a0b'
  const limits = { fuel: '1000000', memoryPages: 1, callDepth: 1, diagnosticsBytesMax: 0, inputKeptBytesMax: 0 }
  const job = { args: [], seed: '00'.repeat(32), inputs: [], outputs: [], moduleBytesMax: 1024, ...limits }
  const { status } = execute(job, decodeHex(module, 'module'), () => new Uint8Array(0))
  if (status !== 'ok') throw new Error(`the runner's own program ended with ${status}`)
}

function main(): void {
  warmUp()
  send(frameType.ready, json({ granted: granted() }))
  const job = JSON.parse(new TextDecoder().decode(receive(frameType.job, jobBytesMax))) as JobHeader
  const module = receive(frameType.module, job.moduleBytesMax)
  const staging = new Uint8Array(frameBytesMax)
  const done = execute(job, module, () => receive(frameType.input, frameBytesMax, staging))
  for (const [index, output] of done.outputs.entries()) {
    const prefix = new Uint8Array(4)
    new DataView(prefix.buffer).setUint32(0, index)
    sendPieces(frameType.output, prefix, output.written())
    output.truncate()
  }
  sendPieces(frameType.stdout, new Uint8Array(0), done.stdout)
  sendPieces(frameType.stderr, new Uint8Array(0), done.stderr)
  const { status, exitCode, trapText, memoryPeakPages } = done
  send(frameType.end, json({ status, exitCode, trapText, fuelUsed: String(done.fuelUsed), memoryPeakPages }))
  closeSync(outward)
  process.exit(0)
}

main()
