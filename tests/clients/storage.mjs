// Spaces and files by the published Node client, against the server at BASE_URL with the key SECRET.
// Prints one line of JSON; fails on the first thing that is not as it should be.

import assert from 'node:assert/strict'

import { SpaceClient } from '@chatbotkit/sdk/space/index.js'

const client = new SpaceClient({ baseUrl: process.env.BASE_URL, secret: process.env.SECRET })
const { storage } = client

async function failure(promise) {
  try {
    await promise
  } catch (error) {
    return { message: error.message, code: error.code }
  }
  assert.fail('nothing was refused')
}

// Spaces.
const { id } = await client.create({ name: 'Node', description: 'd', meta: { tier: 'gold' } })
assert.match(id, /^space_/)
let space = await client.fetch(id)
assert.deepEqual([space.id, space.name, space.description, space.meta], [id, 'Node', 'd', { tier: 'gold' }])
assert.ok(Number.isInteger(space.createdAt) && Math.abs(Date.now() - space.createdAt) < 600_000)
assert.deepEqual(await client.update(id, { name: 'Renamed', meta: { tier: null, seats: 5 } }), { id })
space = await client.fetch(id)
assert.deepEqual([space.name, space.meta], ['Renamed', { seats: 5 }])

const others = []
for (let number = 0; number < 4; number++) {
  others.push((await client.create({ name: `other ${number}`, meta: { group: 'others' } })).id)
}
const paged = []
let cursor
do {
  const page = await client.list({ take: 2, order: 'asc', cursor, meta: { group: 'others' } })
  paged.push(...page.items.map((item) => item.id))
  cursor = page.cursor
} while (cursor)
assert.deepEqual(paged, others)
const streamed = []
for await (const event of client.list({ order: 'asc' }).stream()) {
  assert.equal(event.type, 'item')
  streamed.push(event.data.id)
}
assert.deepEqual(streamed, [id, ...others])

// Files.
const page = '<h1>Grüße</h1>'
const file = `data:text/html;base64,${Buffer.from(page).toString('base64')}`
const path = 'docs/a b/ü%.html'
const uploaded = await storage.upload(id, path, { file })
assert.deepEqual(uploaded, { id: Buffer.from(path).toString('base64url'), path })
await storage.upload(id, 'index.html', { file })

let listed = await storage.list(id)
assert.deepEqual(
  listed.items.map((item) => [item.path, item.isDirectory, item.size]),
  [['docs', true, 0], ['index.html', false, Buffer.byteLength(page)]]
)
assert.ok(Number.isInteger(listed.items[0].updatedAt))
listed = await storage.list(id, 'docs', { recursive: true })
assert.deepEqual(listed.items.map((item) => item.path), [path])

const link = await storage.download(id, path)
assert.equal(link.id, uploaded.id)
const answer = await fetch(link.url)
assert.deepEqual([answer.status, await answer.text()], [200, page])

assert.equal((await storage.copy(id, 'docs', { destinationPath: 'copy' })).path, 'copy')
assert.equal((await storage.move(id, 'index.html', { destinationPath: 'old/index.html' })).path, 'old/index.html')
listed = await storage.list(id, '', { recursive: true })
const all = ['copy/a b/ü%.html', path, 'old/index.html']
assert.deepEqual(listed.items.map((item) => item.path), all)

assert.equal((await storage.delete(id, 'old/index.html')).path, 'old/index.html')
const refused = await failure(storage.delete(id, 'copy'))
assert.equal(refused.code, 'BAD_REQUEST')
assert.match(refused.message, /recursive/)
assert.equal((await storage.delete(id, 'copy', { recursive: true })).path, 'copy')
listed = await storage.list(id, undefined, { recursive: true })
assert.deepEqual(listed.items.map((item) => item.path), [path])

// What goes wrong is told.
assert.deepEqual(await failure(storage.download(id, 'nothing')), {
  message: "file 'nothing' does not exist",
  code: 'NOT_FOUND',
})
assert.equal((await failure(client.create({ name: 1 }))).code, 'BAD_REQUEST')
const stranger = new SpaceClient({ baseUrl: process.env.BASE_URL, secret: 'sk-nobody' })
assert.equal((await failure(stranger.list())).code, 'NOT_AUTHENTICATED')

for (const each of [id, ...others]) {
  assert.deepEqual(await client.delete(each), { id: each })
}
assert.equal((await failure(client.fetch(id))).code, 'NOT_FOUND')
assert.deepEqual((await client.list()).items, [])
console.log(JSON.stringify({ ok: true }))
