import type { Json } from '@cella/bytes'
import type { Attack, Call, Exchange, HostileProxy, Reply } from '../../testing/src/hostile-proxy.ts'

// Every change of every member of every message, made from messages that were seen.

export interface Mutation {
  readonly name: string
  readonly attack: Attack
}

type Path = readonly (string | number)[]

const depthMax = 5
/** Of a long list the first and the last say as much as all. */
const listMax = 2

/** All mutations of what was seen on one route: of the request, of the answer, of both as a whole. */
export function mutationsOf(route: RegExp, name: string, proxy: HostileProxy): Mutation[] {
  const seen = proxy.recent(route).filter(({ reply }) => reply.status === 200 || reply.status === 201)
  const [now, before] = seen
  if (now === undefined) throw new Error(`nothing was seen on ${route}`)
  return [
    ...whole(route, name),
    ...members(now.reply.body, before?.reply.body).map(({ name: what, change }) => ({
      name: `${name} answer: ${what}`,
      attack: answering(route, change),
    })),
    ...members(now.call.body, before?.call.body).map(({ name: what, change }) => ({
      name: `${name} request: ${what}`,
      attack: asking(route, change),
    })),
    ...(before === undefined ? [] : [{ name: `${name} answer: an earlier one`, attack: replaying(route, before) }]),
  ]
}

function whole(route: RegExp, name: string): Mutation[] {
  const on = (what: string, change: (reply: Reply) => Reply | 'drop'): Mutation => ({
    name: `${name}: ${what}`,
    attack: async (call, pass) => {
      const reply = await pass()
      return route.test(call.path) ? change(reply) : reply
    },
  })
  const failing = Buffer.from('{"error":{"code":"ERR_MADE_UP","message":"no"}}')
  return [
    on('answer cut off', () => 'drop'),
    { name: `${name}: never passed on`, attack: async (call, pass) => (route.test(call.path) ? 'drop' : pass()) },
    on('empty answer', (reply) => ({ ...reply, body: new Uint8Array(0) })),
    on('half an answer', (reply) => ({ ...reply, body: reply.body.subarray(0, reply.body.length >> 1) })),
    on('an answer of another type', (reply) => ({ ...reply, body: Buffer.from('[1,2,3]') })),
    on('null', (reply) => ({ ...reply, body: Buffer.from('null') })),
    on('an endless answer', (reply) => ({ ...reply, body: Buffer.alloc(6 * 2 ** 20, 0x20) })),
    on('a refusal', (reply) => ({ ...reply, status: 403, body: failing })),
    on('a failure', (reply) => ({ ...reply, status: 500, body: failing })),
    on('a redirect', (reply) => ({ ...reply, status: 302, headers: { location: 'http://127.0.0.1:9/' } })),
    on('no content', (reply) => ({ ...reply, status: 204, body: new Uint8Array(0) })),
    {
      name: `${name}: passed on twice`,
      attack: async (call, pass) => (route.test(call.path) ? (await pass()) && pass() : pass()),
    },
  ]
}

interface Change {
  readonly name: string
  readonly change: (body: Uint8Array) => Uint8Array
}

function members(body: Uint8Array, before: Uint8Array | undefined): Change[] {
  const value = parsed(body)
  if (typeof value !== 'object' || value === null) return body.length === 0 ? [] : bits(body)
  const earlier = before && parsed(before)
  return pathsOf(value).flatMap((path): Change[] => {
    const at = (edit: (found: Json) => Json | undefined) => (bytes: Uint8Array) => {
      const json = parsed(bytes)
      return json === undefined ? bytes : Buffer.from(JSON.stringify(changed(json, path, edit)))
    }
    const found = read(value, path)
    const old = earlier === undefined ? undefined : read(earlier, path)
    const name = path.join('.')
    return [
      { name: `${name} left out`, change: at(() => undefined) },
      { name: `${name} null`, change: at(() => null) },
      { name: `${name} of another type`, change: at((member) => (typeof member === 'string' ? 7 : 'seven')) },
      ...(typeof found === 'string' && found.length > 0
        ? [{ name: `${name} with a letter changed`, change: at((member) => otherLetter(String(member))) }]
        : []),
      ...(typeof found === 'number' ? [{ name: `${name} plus one`, change: at((member) => Number(member) + 1) }] : []),
      ...(Array.isArray(found) && found.length > 1
        ? [{ name: `${name} in another order`, change: at((member) => [...(member as Json[])].reverse()) }]
        : []),
      ...(old !== undefined && JSON.stringify(old) !== JSON.stringify(found)
        ? [{ name: `${name} of an earlier message`, change: at(() => old) }]
        : []),
    ]
  })
}

/** For bytes that are no JSON: the first, the middle and the last. */
function bits(body: Uint8Array): Change[] {
  return ([0, 0.5, 1] as const).map((share) => ({
    name: `a bit at ${share * 100} % of ${body.length} bytes`,
    change: (bytes) => {
      const copy = bytes.slice()
      const at = Math.floor((copy.length - 1) * share)
      if (copy.length > 0) copy[at]! ^= 0x10
      return copy
    },
  }))
}

function answering(route: RegExp, change: Change['change']): Attack {
  return async (call, pass) => {
    const reply = await pass()
    return route.test(call.path) && reply.status < 300 ? { ...reply, body: change(reply.body) } : reply
  }
}

function asking(route: RegExp, change: Change['change']): Attack {
  return (call: Call, pass) => (route.test(call.path) ? pass({ body: change(call.body) }) : pass())
}

function replaying(route: RegExp, { reply }: Exchange): Attack {
  return async (call, pass) => {
    // What the manager says now is heard, so that its offers are not lost, and another thing told.
    const now = await pass()
    return route.test(call.path) && now.status < 300 ? reply : now
  }
}

function pathsOf(value: Json, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null || path.length >= depthMax) return [path]
  const entries: [string | number, Json][] = Array.isArray(value)
    ? [...value.entries()].filter(([at]) => at < listMax - 1 || at === value.length - 1)
    : Object.entries(value as Record<string, Json>).slice(0, 12)
  return [...(path.length === 0 ? [] : [path]), ...entries.flatMap(([key, member]) => pathsOf(member, [...path, key]))]
}

function read(value: Json, [key, ...rest]: Path): Json | undefined {
  if (key === undefined) return value
  const member = (value as Record<string | number, Json> | null)?.[key]
  return member === undefined ? undefined : read(member, rest)
}

function changed(value: Json, [key, ...rest]: Path, edit: (found: Json) => Json | undefined): Json | undefined {
  if (key === undefined) return edit(value)
  if (typeof value !== 'object' || value === null) return value
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string | number, Json>
  const member = copy[key]
  const made = member === undefined ? undefined : changed(member, rest, edit)
  if (made !== undefined) copy[key] = made
  else if (Array.isArray(copy)) copy.splice(Number(key), 1)
  else delete copy[key]
  return copy as Json
}

function otherLetter(text: string): string {
  const at = text.length >> 1
  return `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
}

function parsed(bytes: Uint8Array): Json | undefined {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
}
