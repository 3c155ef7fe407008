-- The health of a k6 test, kind K6 or TestRun: Healthy when it has passed, Degraded when it has ended otherwise.
-- In argocd-cm there is no string library: strings are compared and concatenated, nothing else.

local function field(value, key)
  if type(value) == "table" then
    return value[key]
  end
  return nil
end

local function text(value)
  if type(value) == "string" and value ~= "" then
    return value
  end
  return nil
end

local function suspended(conditions)
  if type(conditions) ~= "table" then
    return false
  end
  for _, condition in ipairs(conditions) do
    if field(condition, "type") == "Ready" then
      return field(condition, "status") == "False" and field(condition, "reason") == "Suspended"
    end
  end
  return false
end

local status = field(obj, "status")
local state = text(field(status, "state"))
local message = text(field(status, "message"))

if state == nil then
  return { status = "Progressing", message = "Waiting for the operator to take up the test" }
end

-- An edit or a rerun that is not taken up yet: what the status says is of the spec before it.
if field(status, "observedGeneration") ~= field(field(obj, "metadata"), "generation") then
  return { status = "Progressing", message = "Waiting for the operator to take up the latest spec" }
end

if state == "Finished" then
  local result = text(field(status, "result"))
  if result == "Passed" then
    return { status = "Healthy", message = message or result }
  end
  return { status = "Degraded", message = message or result or "Finished without a result" }
end

if suspended(field(status, "conditions")) then
  return { status = "Suspended", message = message or "Suspended" }
end

if message == nil then
  return { status = "Progressing", message = state }
end
return { status = "Progressing", message = state .. ": " .. message }
