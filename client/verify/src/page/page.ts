import { decodeBase64 } from '@cella/bytes'
import { initPolicyEngine } from '@cella/policy'
import { judgeFile } from '../judge-file.ts'
import { believed, Wrong } from './believed.ts'
import { showVerdict, showWrong } from './show.ts'

// The page: reads what the person gives, judges it here, and shows the sentences. There is no network: its policy forbids it.

/** Set by the build: the policy engine's module, gzip, base64. */
declare const CELLA_POLICY_ENGINE: string

/** More than a browser tab does well with. */
const fileBytesMax = 268_435_456

const drop = element('drop')
const nameLine = element('name')
const verdict = element('verdict')
const fields = ['anchors', 'policy', 'independent', 'organisations', 'vaults', 'entry', 'key'] as const
let judged: File | undefined
/** Counts what was asked for, so that an older answer never covers a newer one. */
let asked = 0

for (const name of fields) element(name).addEventListener('change', () => void judge())
input('file').addEventListener('change', () => take(input('file').files?.[0]))
for (const name of ['dragenter', 'dragover']) {
  document.addEventListener(name, (event) => {
    event.preventDefault()
    drop.classList.add('over')
  })
}
document.addEventListener('dragleave', () => drop.classList.remove('over'))
document.addEventListener('drop', (event) => {
  event.preventDefault()
  drop.classList.remove('over')
  take(event.dataTransfer?.files[0])
})

function take(file: File | undefined): void {
  if (file === undefined) return
  judged = file
  nameLine.textContent = `${file.name}, ${file.size} bytes`
  void judge()
}

async function judge(): Promise<void> {
  const file = judged
  if (file === undefined) return
  asked += 1
  const own = asked
  try {
    const [bytes, { entry, key, anchors }] = await Promise.all([
      bytesOf(file),
      believed({
        anchors: await textOf(input('anchors').files?.[0]),
        policy: value('policy'),
        independent: value('independent'),
        organisations: value('organisations'),
        vaults: value('vaults'),
        key: value('key'),
        entry: await optionalBytes(input('entry').files?.[0]),
        now: Math.floor(Date.now() / 1000),
      }),
    ])
    const { verdict: found } = await judgeFile(bytes, { anchors, entry, key, startEngine })
    if (own === asked) showVerdict(verdict, found)
  } catch (error) {
    if (own === asked) showWrong(verdict, error instanceof Wrong ? error.message : `The page failed: ${String(error)}`)
  }
}

async function startEngine(): Promise<void> {
  const packed = new Blob([decodeBase64(CELLA_POLICY_ENGINE, 'policy engine') as BlobPart])
  const stream = packed.stream().pipeThrough(new DecompressionStream('gzip'))
  await initPolicyEngine(new Uint8Array(await new Response(stream).arrayBuffer()))
}

async function bytesOf(file: File): Promise<Uint8Array> {
  if (file.size > fileBytesMax)
    throw new Wrong(`${file.name} has more than ${fileBytesMax} bytes: cella verify reads it.`)
  return new Uint8Array(await file.arrayBuffer())
}

async function optionalBytes(file: File | undefined): Promise<Uint8Array | undefined> {
  return file && bytesOf(file)
}

async function textOf(file: File | undefined): Promise<string> {
  return file === undefined ? '' : new TextDecoder().decode(await bytesOf(file))
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new TypeError(`the page has no ${id}`)
  return found
}

function input(id: string): HTMLInputElement {
  return element(id) as HTMLInputElement
}

function value(id: string): string {
  return input(id).value.trim()
}
