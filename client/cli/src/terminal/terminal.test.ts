import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { renderBars } from './chart.ts'
import { progressLine, startProgress } from './progress.ts'
import { plainStyle, styleFor } from './style.ts'
import { renderTable } from './table.ts'
import { displayWidth, printable, truncate } from './text.ts'
import { formatBytes, formatCount, formatSeconds, formatTime } from './units.ts'

describe('text', () => {
  test('no control or bidirectional character survives', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(printable(text), /[\p{Cc}\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u)
      }),
    )
  })

  test('wide characters take two cells', () => {
    assert.deepEqual(['abc', '日本', 'é', '👩‍🔬'].map(displayWidth), [3, 4, 1, 2])
  })

  test('a cut text fits and shows that it was cut', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }).map(printable), fc.integer({ min: 1, max: 40 }), (text, width) => {
        const cut = truncate(text, width)
        assert.ok(displayWidth(cut) <= width)
        assert.equal(cut === text || cut.endsWith('…'), true)
      }),
    )
  })
})

describe('table', () => {
  const content = {
    columns: [
      { name: 'sex', align: 'left' as const },
      { name: 'n', align: 'right' as const },
    ],
    rows: [
      ['female', '7'],
      ['male', null],
    ],
  }

  test('aligns, and shows a missing value as a dot', () => {
    assert.equal(renderTable(content, { width: 80 }), 'sex     n\n──────  ─\nfemale  7\nmale    ·')
  })

  test('no line is wider than the terminal', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 8 }),
        fc.integer({ min: 20, max: 60 }),
        (rows, width) => {
          const text = renderTable({ ...content, rows }, { width })
          for (const line of text.split('\n')) assert.ok(displayWidth(line) <= width, line)
        },
      ),
    )
  })
})

describe('chart', () => {
  test('bars grow with their values and nothing looks like zero that is not', () => {
    const text = renderBars(
      [
        { label: 'a', value: 10 },
        { label: 'b', value: 5 },
        { label: 'c', value: 0.001 },
        { label: 'd', value: 0 },
        { label: 'e', value: null },
      ],
      { width: 40 },
    )
    const [a, b, c, d, e] = text.split('\n') as [string, string, string, string, string]
    const cells = (line: string): number => (line.match(/█/g) ?? []).length
    assert.ok(Math.abs(cells(a) - 2 * cells(b)) <= 1)
    assert.match(c, /▏/)
    assert.doesNotMatch(d, /[█▏]/)
    assert.match(e, /suppressed/)
  })

  test('negative values grow to the other side', () => {
    const [up, down] = renderBars(
      [
        { label: 'up', value: 4 },
        { label: 'down', value: -4 },
      ],
      { width: 40 },
    ).split('\n') as [string, string]
    assert.ok(up.indexOf('█') > down.indexOf('█'))
  })

  test('no value breaks it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })), { maxLength: 6 }),
        (values) => {
          renderBars(
            values.map((value, index) => ({ label: `${index}`, value })),
            { width: 50 },
          )
        },
      ),
    )
  })
})

describe('colour', () => {
  test('NO_COLOR wins over everything, and a pipe has none', () => {
    assert.equal(styleFor({ isTTY: true, env: { NO_COLOR: '1', FORCE_COLOR: '1' } }).colour, false)
    assert.equal(styleFor({ isTTY: false, env: {} }).colour, false)
    assert.equal(styleFor({ isTTY: true, env: {} }).colour, true)
    assert.equal(plainStyle.red('x'), 'x')
  })
})

describe('progress', () => {
  test('tells rate and time left, within the width', () => {
    const line = progressLine({ label: 'sealing', done: 50 * 2 ** 20, total: 100 * 2 ** 20, seconds: 5, width: 100 })
    assert.match(line, /50\.0 MiB of 100 MiB, 10\.0 MiB\/s, 5\.0 s left/)
    for (let width = 0; width < 120; width += 7) {
      assert.ok(progressLine({ label: 'sealing', done: 1, total: 3, seconds: 1, width }).length <= Math.max(0, width))
    }
  })

  test('draws nothing where nobody watches', () => {
    const written: string[] = []
    const progress = startProgress(
      'x',
      { isTTY: false, columns: 80, write: (text) => void written.push(text) },
      () => 0,
    )
    progress.update(1, 2)
    progress.end()
    assert.deepEqual(written, [])
  })
})

test('units are those that people say', () => {
  assert.deepEqual([formatBytes(0), formatBytes(1536), formatBytes(5 * 2 ** 30)], ['0 B', '1.50 KiB', '5.00 GiB'])
  assert.deepEqual([formatSeconds(0.42), formatSeconds(61), formatSeconds(7500)], ['0.4 s', '1 min 1 s', '2 h 5 min'])
  assert.deepEqual(
    [formatCount(1, 'row'), formatCount(0, 'row'), formatCount(1, 'witness', 'witnesses')],
    ['1 row', '0 rows', '1 witness'],
  )
  assert.equal(formatTime(0), '1970-01-01 00:00:00 UTC')
  assert.equal(formatTime(253_402_300_799), 'no end')
})
