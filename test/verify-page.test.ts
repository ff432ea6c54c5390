import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Browser, noBrowser, type Page, startBrowser } from '@cella/testing/browser'
import { buildPage } from '../scripts/build-page.ts'

const receipts = fileURLToPath(new URL('../core/receipt/testdata/', import.meta.url))
const vector = JSON.parse(
  /```json\n(.*?)```/s.exec(readFileSync(new URL('../docs/formats/events.md', import.meta.url), 'utf8'))![1]!,
) as Record<string, string>

describe('the page in a browser, opened as a file', { skip: noBrowser }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-verify-page-'))
  let browser: Browser
  let page: Page
  const requests: string[] = []
  const errors: string[] = []
  before(async () => {
    const file = await buildPage(join(folder, 'verify.html'))
    browser = await startBrowser()
    page = await browser.newPage()
    page.on('request', (request) => requests.push(request.url()))
    page.on('pageerror', (error) => errors.push(error.message))
    page.on('console', (message) => errors.push(message.text()))
    await page.goto(pathToFileURL(file).href)
  })
  after(async () => {
    await browser.close()
    rmSync(folder, { recursive: true })
  })

  const verdictOf = async (heading: string): Promise<string> => {
    await page.getByRole('heading', { name: heading, exact: true }).waitFor()
    return (await page.locator('#verdict').textContent()) ?? ''
  }
  const choose = (label: string | RegExp, name: string, bytes: Uint8Array): Promise<void> =>
    page.getByLabel(label).setInputFiles({ name, mimeType: '', buffer: Buffer.from(bytes) })
  const file = /Drop the file here/
  const receipt = new Uint8Array(readFileSync(join(receipts, 'run.cella-receipt')))

  test('without anchors it can’t tell, and says what to obtain', async () => {
    await choose(file, 'run.cella-receipt', receipt)
    assert.match(await verdictOf('Cannot tell'), /obtain its policy \(log key and witnesses\) from somebody you trust/)
  })

  test('a receipt of a run is proved by the person’s anchors', async () => {
    await choose('Your anchors', 'anchors.json', readFileSync(join(receipts, 'anchors.json')))
    const text = await verdictOf('Proved')
    assert.match(
      text,
      /What is proved.*The receipt is entry \d+ of the log.*What is not proved.*the TEE was simulated/s,
    )
  })

  test('the same receipt with one changed figure is disproved', async () => {
    const text = new TextDecoder().decode(receipt)
    const bent = text.replace(
      /"proof":"(c2sp\.org\/tlog-proof@v1\\nindex )(\d)/,
      (_, start: string, digit: string) => `"proof":"${start}${(Number(digit) % 9) + 1}`,
    )
    assert.notEqual(bent, text)
    await choose(file, 'bent.cella-receipt', new TextEncoder().encode(bent))
    assert.match(await verdictOf('Disproved'), /What is wrong/)
  })

  test('a disclosure that is dropped is judged by the policy in the field, changed or true', async () => {
    await page.getByText('Or say it here').click()
    await page.getByLabel('Policy of the log').fill(vector.policy!)
    const dropped = async (text: string): Promise<void> => {
      const transfer = await page.evaluateHandle((content) => {
        const made = new DataTransfer()
        made.items.add(new File([content], 'event.cella-disclosure'))
        return made
      }, text)
      await page.dispatchEvent('#drop', 'drop', { dataTransfer: transfer })
    }
    await dropped(vector.disclosure!)
    assert.match(await verdictOf('Proved'), /Field allowed is true\./)
    await dropped(vector.disclosure!.replace('"allowed",true', '"allowed",false'))
    assert.match(await verdictOf('Disproved'), /field allowed is not one of the event/)
  })

  test('markup in a file is shown as text, and a wrong policy is said', async () => {
    await page.getByLabel('Policy of the log').fill('<img src=x onerror=alert(1)>')
    await page.getByLabel('Policy of the log').blur()
    assert.match(await verdictOf('Something that you gave can’t be used'), /log policy line 1/)
    assert.equal(await page.locator('#verdict img').count(), 0)
  })

  test('it reached nobody, and nothing in it failed', async () => {
    assert.deepEqual(errors, [])
    // The page itself; what it would load beside, its policy forbids.
    assert.deepEqual(requests, [page.url()])
    const reached = await page.evaluate(async () => {
      try {
        await fetch('https://example.org/')
        return true
      } catch {
        return false
      }
    })
    assert.equal(reached, false)
    const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(
      readFileSync(join(folder, 'verify.html'), 'utf8'),
    )!
    assert.match(
      policy!,
      /^default-src 'none'; script-src 'sha256-[^']+' 'wasm-unsafe-eval'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'$/,
    )
  })

  test('it reads well on a small screen and in the dark', async () => {
    await page.setViewportSize({ width: 360, height: 800 })
    await page.emulateMedia({ colorScheme: 'dark' })
    const sides = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ])
    assert.ok(sides[0]! <= sides[1]!, 'it scrolls sideways')
    const [paper, ink] = await page.evaluate(() => {
      const style = getComputedStyle(document.body)
      return [style.backgroundColor, style.color]
    })
    assert.deepEqual([paper, ink], ['rgb(23, 22, 28)', 'rgb(236, 236, 241)'])
    const keep = process.env.CELLA_KEEP_SCREENSHOT
    if (keep !== undefined) writeFileSync(keep, await page.screenshot({ fullPage: true }))
  })
})

test('two builds of the page are the same bytes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-verify-page-'))
  const [first, second] = [await buildPage(join(folder, 'a.html')), await buildPage(join(folder, 'b.html'))]
  assert.deepEqual(readFileSync(first), readFileSync(second))
  rmSync(folder, { recursive: true })
})
