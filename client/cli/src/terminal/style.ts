/** How text may look on one stream. Every function returns its text unchanged where colour is off. */
export interface Style {
  readonly colour: boolean
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly red: (text: string) => string
  readonly green: (text: string) => string
  readonly yellow: (text: string) => string
  readonly cyan: (text: string) => string
}

/** What of a stream and an environment decides on colour. */
export interface StyleSource {
  readonly isTTY: boolean
  readonly env: Readonly<Record<string, string | undefined>>
}

/** `NO_COLOR` (no-color.org) wins over `FORCE_COLOR`, which wins over whether the stream is a terminal. */
export function styleFor({ isTTY, env }: StyleSource): Style {
  const colour = env.NO_COLOR ? false : env.FORCE_COLOR ? env.FORCE_COLOR !== '0' : isTTY && env.TERM !== 'dumb'
  const paint =
    (open: number, close: number): ((text: string) => string) =>
    (text) =>
      colour && text !== '' ? `\u001b[${open}m${text}\u001b[${close}m` : text
  return {
    colour,
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    cyan: paint(36, 39),
  }
}

/** A style that changes nothing. */
export const plainStyle: Style = styleFor({ isTTY: false, env: {} })
