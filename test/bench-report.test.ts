import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Figure } from '@cella/testing'
import { judged, renderFigure } from '../bench/figure.ts'

const main = fileURLToPath(new URL('../bench/main.ts', import.meta.url))
const figure: Figure = {
  bench: 'x',
  value: 3,
  unit: 'ms',
  against: 'a peer',
  ratio: 1.5,
  target: 2,
  met: true,
}

test('a figure has exactly the members that are promised', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(judged(figure))), figure)
})

for (const [name, change] of [
  ['its peer is missing', { ratio: Number.NaN }],
  ['its peer is missing, whatever its bench says', { ratio: Number.NaN, met: true }],
  ['it has no value', { value: Number.NaN, ratio: 0 }],
  ['the ratio is infinite', { ratio: Number.POSITIVE_INFINITY }],
] as const) {
  test(`counts as not measured, never as met, when ${name}`, () => {
    const result = judged({ ...figure, ...change })
    assert.equal(result.met, null)
    assert.equal(result.ratio, null)
    assert.match(renderFigure(result), /not measured against a peer/)
  })
}

test('the bar is full to the mark at the target, and the bound is said', () => {
  assert.match(
    renderFigure(judged({ ...figure, ratio: 2 })),
    /^✓ x: 3\.00 ms\n {4}█{16}\|·{8} 2\.00 × a peer \(target: at most 2\)$/,
  )
  assert.match(renderFigure(judged({ ...figure, ratio: 3 })), /at least 2/)
  assert.match(renderFigure(judged({ ...figure, ratio: 3, met: false })), /^✗ .*\n.*█{16}\|█{8} 3\.00 .*at most 2/)
})

test('a name that fits no bench, and an unknown option, are errors', () => {
  for (const parameter of ['no-such-bench', '--fast']) {
    const { status, stderr } = spawnSync(process.execPath, [main, parameter], { encoding: 'utf8' })
    assert.equal(status, 2)
    assert.ok(stderr.includes(parameter))
  }
})
