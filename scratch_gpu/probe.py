import io, os, threading, time, queue
import numpy as np, torch
from PIL import Image
print("cores", os.cpu_count(), len(os.sched_getaffinity(0)), "shm", os.statvfs("/dev/shm").f_bavail*os.statvfs("/dev/shm").f_frsize>>20, "MB", flush=True)
from vovnet.data.pixels import shown
rng=np.random.default_rng(0)
base=Image.fromarray(rng.integers(0,256,(126,168,3),dtype=np.uint8)).resize((1344,1008),Image.BICUBIC)
a=np.clip(np.asarray(base).astype(int)+rng.integers(-12,13,(1008,1344,3)),0,255).astype(np.uint8)
f=io.BytesIO(); Image.fromarray(a).save(f,"JPEG",quality=85); data=f.getvalue(); print("bytes",len(data))
def prep():
    im=shown(data)
    return [torch.from_numpy(np.array(im.resize(s,Image.BICUBIC))) for s in ((1024,768),(256,192))]
def t(fn,n):
    fn(); b=time.perf_counter()
    for _ in range(n): fn()
    return (time.perf_counter()-b)/n*1e3
print("decode",t(lambda: shown(data),20),"prep",t(prep,20),"ms", flush=True)
x=torch.zeros(8,device="cuda")
def launches(n=4000):
    b=time.perf_counter()
    for _ in range(n): x.add_(1)
    torch.cuda.synchronize()
    return (time.perf_counter()-b)/n*1e6
launches(); print("alone us a launch", [round(launches(),2) for _ in range(5)], flush=True)
def contend(threads, rate):
    stop=threading.Event(); done=[0]
    def work():
        nxt=time.perf_counter()
        while not stop.is_set():
            prep(); done[0]+=1
            if rate:
                nxt+=threads/rate; d=nxt-time.perf_counter()
                if d>0: time.sleep(d)
    ts=[threading.Thread(target=work) for _ in range(threads)]
    [u.start() for u in ts]; time.sleep(.3); b=time.perf_counter(); d0=done[0]
    r=[round(launches(40000),2) for _ in range(3)]; e=time.perf_counter()-b; n=done[0]-d0
    stop.set(); [u.join() for u in ts]
    print(f"{threads} threads rate {rate}: {r} us, {n/e:.0f} images/s", flush=True)
for th,ra in ((1,20),(2,40),(4,40),(4,0),(8,0),(8,100)): contend(th,ra)
import sys
for si in (0.0005,):
    sys.setswitchinterval(si); 
    for th,ra in ((4,40),(8,0)): contend(th,ra)
